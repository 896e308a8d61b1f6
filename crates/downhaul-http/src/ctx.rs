//! What handlers of axum extract: [`Ctx`], the request's context, and [`OriginalUri`].

use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use downhaul_context::Context;
use http::request::Parts;

use crate::error::Error;
use crate::mount::{OriginalUri, original_uri};

/// Extracts the context of a request in an axum handler.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use downhaul_http::Ctx;
///
/// async fn handler(Ctx(ctx): Ctx) -> String {
///     format!("{:?} left", ctx.remaining())
/// }
///
/// let app: Router = Router::new().route("/", get(handler));
/// ```
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper that handlers take apart in the signature")]
pub struct Ctx(pub Context);

impl<S: Send + Sync> FromRequestParts<S> for Ctx {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        parts.extensions.get::<Context>().cloned().map(Self).ok_or_else(|| {
            Error::internal(
                "no context in the request: it was not served by `downhaul_http::Server`",
            )
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OriginalUri {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(original_uri(&parts.extensions, &parts.uri).clone()))
    }
}
