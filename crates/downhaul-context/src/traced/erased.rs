//! [`TracedError`]: a traced error without its type, as `?` makes it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::ops::Deref;

use super::Traced;
use super::details::Details;
use super::kind::{Class, Kind};
use super::print::tells_end;
use crate::cause::Cause;
use crate::chain::chain;

/// A [`Traced`] error without its type: what is in a `Box<dyn Error>` that `?` has made of one.
///
/// It is an [`Error`], and its source is what failed. So its `Display` has the layers alone, for
/// whoever prints a chain prints the sources after it; `{:#}` and `Debug` are the whole tree, and
/// [`one_line`](super::one_line) the whole line.
///
/// # Examples
///
/// ```
/// use downhaul_context::{Context, ResultExt, TracedError};
/// use std::error::Error;
/// use std::io;
///
/// fn load(ctx: &Context) -> Result<(), Box<dyn Error + Send + Sync>> {
///     Err(io::Error::from(io::ErrorKind::NotFound)).layer(ctx, "config.load")?
/// }
///
/// let error = load(&Context::background()).unwrap_err();
/// assert_eq!(error.to_string(), "config.load");
/// assert!(error.source().unwrap().is::<io::Error>());
/// assert_eq!(TracedError::find(&*error).unwrap().error_type(), "internal");
/// ```
pub struct TracedError {
    details: Box<Details>,
    class: Class,
    error_type: &'static str,
    is_permanent: bool,
    public: Option<Cow<'static, str>>,
}

impl TracedError {
    /// The first one among `error` and its sources.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|error| error.downcast_ref())
    }

    /// As [`Traced::class`].
    pub fn class(&self) -> Class {
        self.class
    }

    /// As [`Details::cause`]. Here as well, since `Error::cause` would be found before that.
    pub fn cause(&self) -> Option<&Cause> {
        Deref::deref(self).cause()
    }

    /// As [`Traced::error_type`].
    pub fn error_type(&self) -> &'static str {
        self.error_type
    }

    /// As [`Traced::is_permanent`].
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
    }

    /// As [`Kind::public`].
    pub fn public(&self) -> Option<&str> {
        self.public.as_deref()
    }
}

impl Deref for TracedError {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.details
    }
}

/// The layers, in one line.
impl fmt::Display for TracedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return fmt::Display::fmt(&**self, f);
        }
        for (index, layer) in self.layers().enumerate() {
            write!(f, "{}{layer}", if index == 0 { "" } else { ": " })?;
        }
        let situation = &self.trace.situation;
        situation.fmt_short(f, tells_end(&self.details.error, situation))
    }
}

/// The tree.
impl fmt::Debug for TracedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Error for TracedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.details.error)
    }
}

impl<E: Kind> From<Traced<E>> for TracedError {
    fn from(traced: Traced<E>) -> Self {
        Self {
            class: traced.class(),
            error_type: traced.error_type(),
            is_permanent: traced.is_permanent(),
            public: traced.error().public(),
            details: traced.0,
        }
    }
}

impl<E: Kind> From<Traced<E>> for Box<dyn Error + Send + Sync> {
    fn from(traced: Traced<E>) -> Self {
        Box::new(TracedError::from(traced))
    }
}

impl<E: Kind> From<Traced<E>> for Box<dyn Error> {
    fn from(traced: Traced<E>) -> Self {
        Box::new(TracedError::from(traced))
    }
}
