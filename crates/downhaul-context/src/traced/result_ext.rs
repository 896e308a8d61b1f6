//! [`ResultExt`]: what a layer writes.

use std::error::Error;
use std::fmt::Display;

use super::Traced;
use crate::context::Context;

/// Adds layers and values to the error of a [`Result`].
///
/// Nothing is done, and nothing allocated, where there is no error.
///
/// # Examples
///
/// ```
/// use downhaul_context::{Context, ResultExt, Traced};
/// use std::num::ParseIntError;
///
/// fn stock(ctx: &Context, text: &str) -> Result<u32, Traced<ParseIntError>> {
///     text.parse().layer(ctx, "stock.parse").kv("text", text)
/// }
///
/// let error = stock(&Context::background(), "many").unwrap_err();
/// assert_eq!(error.to_string(), "stock.parse{text=many}: invalid digit found in string");
/// ```
pub trait ResultExt<T, E: IntoTraced>: Sized {
    /// Says that the error has passed the layer `name`, and where in the code. The first layer also
    /// keeps how things stand with the context: request id and trace id, the values that may be
    /// printed, how long it has run, how far its deadline is, and why it ended if it has.
    ///
    /// # Errors
    ///
    /// The error, with the layer.
    #[track_caller]
    fn layer(self, ctx: &Context, name: &'static str) -> Result<T, Traced<E::Kind>>;

    /// Adds a value to the last layer: what was asked, for whom, and what it was about. Of its text
    /// the first 512 bytes are kept.
    ///
    /// # Errors
    ///
    /// The error, with the value.
    fn kv(self, key: &'static str, value: impl Display) -> Result<T, Traced<E::Kind>>
    where
        E: IsTraced;

    /// Adds to the last layer that there was a value which must not be printed. It is not looked
    /// at.
    ///
    /// # Errors
    ///
    /// The error, with the key.
    fn kv_secret<V: ?Sized>(self, key: &'static str, value: &V) -> Result<T, Traced<E::Kind>>
    where
        E: IsTraced;

    /// Turns the error into one of another kind, and keeps its layers.
    ///
    /// # Errors
    ///
    /// The other error.
    fn map_kind<F>(self, change: impl FnOnce(E::Kind) -> F) -> Result<T, Traced<F>>
    where
        E: IsTraced;
}

impl<T, E: IntoTraced> ResultExt<T, E> for Result<T, E> {
    #[inline]
    #[track_caller]
    fn layer(self, ctx: &Context, name: &'static str) -> Result<T, Traced<E::Kind>> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into_traced(ctx, name)),
        }
    }

    #[inline]
    fn kv(self, key: &'static str, value: impl Display) -> Result<T, Traced<E::Kind>>
    where
        E: IsTraced,
    {
        self.map_err(|error| error.traced().kv(key, value))
    }

    #[inline]
    fn kv_secret<V: ?Sized>(self, key: &'static str, value: &V) -> Result<T, Traced<E::Kind>>
    where
        E: IsTraced,
    {
        self.map_err(|error| error.traced().kv_secret(key, value))
    }

    #[inline]
    fn map_kind<F>(self, change: impl FnOnce(E::Kind) -> F) -> Result<T, Traced<F>>
    where
        E: IsTraced,
    {
        self.map_err(|error| error.traced().map_kind(change))
    }
}

/// What a layer can be added to: any error, and a [`Traced`] one, which has layers already.
pub trait IntoTraced {
    /// The error itself.
    type Kind;

    /// Adds the layer.
    #[track_caller]
    fn into_traced(self, ctx: &Context, name: &'static str) -> Traced<Self::Kind>;
}

impl<E: Error + Send + Sync + 'static> IntoTraced for E {
    type Kind = E;

    #[track_caller]
    fn into_traced(self, ctx: &Context, name: &'static str) -> Traced<E> {
        Traced::new(ctx, name, self)
    }
}

impl<E> IntoTraced for Traced<E> {
    type Kind = E;

    #[track_caller]
    fn into_traced(self, _ctx: &Context, name: &'static str) -> Self {
        self.layer(name)
    }
}

/// What has a layer, to which values can be added: a [`Traced`] error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no layer yet",
    note = "call `.layer(ctx, \"name\")` before"
)]
pub trait IsTraced: IntoTraced {
    /// The error with its layers.
    fn traced(self) -> Traced<Self::Kind>;
}

impl<E> IsTraced for Traced<E> {
    fn traced(self) -> Self {
        self
    }
}
