//! [`Kind`]: what an error of the application says of itself. [`Class`]: what becomes of it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use crate::cause::{Cause, CauseKind};

/// What a failure is to whoever asked: it decides the status of an answer and whether a message is
/// tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// What was asked can never be done: 400, and a message that is not tried again.
    Invalid,
    /// It is not known who asks: 401.
    Unauthenticated,
    /// Who asks may not: 403.
    Forbidden,
    /// There is no such thing: 404.
    NotFound,
    /// It does not fit the state in which the thing is: 409.
    Conflict,
    /// Not now; trying again may help: 503.
    Unavailable,
    /// It took too long: 504.
    Timeout,
    /// Whatever else, such as a bug: 500.
    Internal,
}

impl Class {
    /// Its name, in lower case: `not_found`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// What a failure is that came of the end of a context.
    pub(super) fn of(cause: &Cause) -> Self {
        match cause.kind() {
            CauseKind::Deadline => Self::Timeout,
            _ => Self::Unavailable,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error of the application says of itself, so that nobody has to read its text.
///
/// Implement it for the error enum of each layer. A [`Traced`](super::Traced) error whose kind says
/// its class becomes the right answer, or the right fate of a message, by `?` alone.
///
/// [`Cause`] and [`io::Error`] have it already.
///
/// # Examples
///
/// ```
/// use downhaul_context::{Class, Kind};
/// use std::borrow::Cow;
///
/// #[derive(Debug, thiserror::Error)]
/// enum OrderError {
///     #[error("no order {0}")]
///     NotFound(u64),
///     #[error("the orders cannot be read")]
///     Store(#[source] std::io::Error),
/// }
///
/// impl Kind for OrderError {
///     fn class(&self) -> Class {
///         match self {
///             Self::NotFound(_) => Class::NotFound,
///             Self::Store(error) => error.class(),
///         }
///     }
///     fn public(&self) -> Option<Cow<'static, str>> {
///         match self {
///             Self::NotFound(_) => Some("no such order; GET /orders lists them".into()),
///             Self::Store(_) => None,
///         }
///     }
/// }
///
/// assert_eq!(OrderError::NotFound(7).error_type(), "not_found");
/// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// assert_eq!(OrderError::Store(refused).class(), Class::Unavailable);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what class of failure it is",
    note = "implement `downhaul_context::Kind` for it or, if it is not yours, change it into an \
            error of yours by `map_kind`"
)]
pub trait Kind: Error + Send + Sync + 'static {
    /// What becomes of it.
    fn class(&self) -> Class;

    /// The `error.type` of log lines and metrics: one of few words, never one with an id in it. The
    /// name of the class, if nothing else is said.
    fn error_type(&self) -> &'static str {
        self.class().as_str()
    }

    /// Whether the same message would fail again, whatever else happens, so that it is not tried
    /// again. Only [`Class::Invalid`] does, if nothing else is said.
    fn is_permanent(&self) -> bool {
        self.class() == Class::Invalid
    }

    /// What a client may read of it. A few words that fit the class, if nothing is said; never
    /// the text of the error.
    fn public(&self) -> Option<Cow<'static, str>> {
        None
    }
}

/// A deadline is [`Class::Timeout`], any other end [`Class::Unavailable`].
impl Kind for Cause {
    fn class(&self) -> Class {
        Class::of(self)
    }
}

/// What may be over in a while is [`Class::Unavailable`] or [`Class::Timeout`], the rest
/// [`Class::Internal`].
impl Kind for io::Error {
    fn class(&self) -> Class {
        match self.kind() {
            io::ErrorKind::TimedOut => Class::Timeout,
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::WouldBlock => Class::Unavailable,
            _ => Class::Internal,
        }
    }
}
