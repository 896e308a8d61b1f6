//! [`Ctx`] and [`Peer`]: the request's context and its client, for handlers of axum.

use axum_core::extract::FromRequestParts;
use downhaul_context::Context;
use http::request::Parts;

use crate::address::Address;
use crate::error::Error;
use crate::in_flight::Tracked;

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
        let ctx = parts.extensions.get::<Context>().cloned();
        ctx.map(Self).ok_or_else(|| not_served("context"))
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
        let tracked = parts.extensions.get::<Tracked>();
        let peer = tracked.map(|Tracked(request)| request.link.peer.clone());
        peer.map(Self).ok_or_else(|| not_served("peer"))
    }
}

fn not_served(what: &str) -> Error {
    let why = "it was not served by `downhaul_http::Server`";
    Error::internal(format!("no {what} in the request: {why}"))
}
