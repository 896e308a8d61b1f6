//! What handlers of axum extract: [`Ctx`], the request's context, its [`Peer`] and [`OriginalUri`].

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum_core::extract::FromRequestParts;
use downhaul_context::Context;
use http::request::Parts;

use crate::error::Error;
use crate::lifetime::in_flight::InFlight;
use crate::lifetime::tracked::Tracked;
use crate::listen::address::Address;
use crate::route::matched::tell_route;
use crate::route::mount::{OriginalUri, original_uri};
use crate::route::set_timeout::set_timeout;

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

/// Where a context that was extracted finds its request again. Weak: a context that is kept keeps
/// no request in flight.
struct Extracted(Weak<InFlight>);

impl Ctx {
    /// As [`Request::set_timeout`](crate::Request::set_timeout), for handlers of axum.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_http::{Ctx, Error};
    /// use std::time::Duration;
    /// # async fn report() -> String { String::new() }
    ///
    /// async fn export(ctx: Ctx) -> Result<String, Error> {
    ///     let ctx = ctx.set_timeout(Duration::from_secs(120));
    ///     Ok(ctx.run(report()).await?)
    /// }
    /// ```
    #[must_use = "the context that it was called with keeps its deadline"]
    pub fn set_timeout(&self, timeout: Duration) -> Context {
        let extracted = self.0.value::<Extracted>();
        let in_flight = extracted.and_then(|Extracted(request)| request.upgrade());
        set_timeout(in_flight.as_deref(), &self.0, timeout)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ctx {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let ctx = parts.extensions.get::<Context>().ok_or_else(|| not_served("context"))?;
        tell_route(&parts.extensions);
        Ok(Self(match Tracked::request(&parts.extensions) {
            Some(in_flight) => ctx.with_value(Extracted(Arc::downgrade(in_flight))),
            None => ctx.clone(),
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OriginalUri {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(original_uri(&parts.extensions, &parts.uri).clone()))
    }
}

/// Extracts the other end of the connection in an axum handler; behind a proxy it is the proxy.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use downhaul_http::Peer;
///
/// async fn handler(Peer(address): Peer) -> String {
///     format!("you are {address}")
/// }
///
/// let app: Router = Router::new().route("/", get(handler));
/// ```
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper that handlers take apart in the signature")]
pub struct Peer(pub Address);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let peer = Tracked::request(&parts.extensions).map(|request| request.link.peer.clone());
        peer.map(Self).ok_or_else(|| not_served("peer"))
    }
}

fn not_served(what: &str) -> Error {
    let why = "it was not served by `downhaul_http::Server`";
    Error::internal(format!("no {what} in the request: {why}"))
}
