//! [`Request`]: what a handler of a [`Router`](crate::Router) reads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum_core::extract::{DefaultBodyLimit, FromRequest, FromRequestParts};
use bytes::Bytes;
use downhaul_context::Context;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Uri};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::lifetime::body::Body;
use crate::lifetime::in_flight::InFlight;
use crate::lifetime::tracked::{Carried, Tracked};
use crate::listen::address::Address;
use crate::route::invalid::{invalid, invalid_param};
use crate::route::mount;
use crate::route::params::Params;
use crate::route::set_timeout::set_timeout;

/// A request on its way to a handler, with the router's state.
///
/// Whatever is wrong with it becomes an [`Error`] that tells the client what was expected, so that
/// handlers need only `?`.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::{Error, Json, Request};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     item: String,
/// }
///
/// async fn create(_ctx: Context, mut req: Request) -> Result<Json<String>, Error> {
///     let shop: u64 = req.param("shop")?;
///     let order: Order = req.json().await?;
///     Ok(Json(format!("{} from shop {shop}", order.item)))
/// }
/// ```
pub struct Request<S = ()> {
    /// In a box: it is moved from one middleware to the next.
    inner: Box<Inner>,
    state: Arc<S>,
}

struct Inner {
    parts: Parts,
    /// Taken when it is read.
    body: Option<Body>,
    carried: Option<Carried>,
    params: Params,
    /// Whether the template of the parameters is that of a route.
    is_matched: bool,
}

impl<S> Request<S> {
    /// The request and its context. Only one that no server served comes without a context.
    pub(crate) fn new(request: http::Request<Body>, state: Arc<S>) -> (Context, Self) {
        let (parts, mut body) = request.into_parts();
        let carried = body.take_carried();
        let ctx = carried.as_ref().map(|Carried { ctx, .. }| ctx);
        let ctx = ctx.or_else(|| parts.extensions.get()).cloned();
        let (body, params) = (Some(body), Params::default());
        let inner = Box::new(Inner { parts, body, carried, params, is_matched: false });
        (ctx.unwrap_or_else(Context::background), Self { inner, state })
    }

    pub(crate) fn matched(&mut self, params: Params) {
        self.inner.params = params;
        self.inner.is_matched = true;
    }

    /// Only a fallback has taken it.
    pub(crate) fn unmatched(&mut self, params: Params) {
        self.inner.params = params;
    }

    pub(crate) fn shared_route(&self) -> Option<&Arc<str>> {
        self.inner.params.template().filter(|_| self.inner.is_matched)
    }

    /// The request in flight, where a server of ours serves it.
    pub(crate) fn in_flight(&self) -> Option<&InFlight> {
        let carried = self.inner.carried.as_ref().map(|Carried { request, .. }| request);
        carried.or_else(|| Tracked::request(self.extensions())).map(|request| &**request)
    }

    /// What a path that ends with `{*rest}` has matched there.
    pub(crate) fn rest(&self) -> Option<&str> {
        let ends_with_rest = self.route().is_some_and(|route| route.ends_with("/{*rest}"));
        self.inner.params.last(self.uri().path()).filter(|_| ends_with_rest)
    }

    pub(crate) fn with_state<T>(self, state: Arc<T>) -> Request<T> {
        Request { inner: self.inner, state }
    }

    #[cfg(feature = "idempotency")]
    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Puts another body in place of the one that is there, or that was there before it was read.
    #[cfg(feature = "idempotency")]
    pub(crate) fn replace_body(&mut self, body: Body) -> Body {
        self.inner.body.replace(body).unwrap_or_default()
    }

    /// What the router was given with [`Router::with_state`](crate::Router::with_state).
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.inner.parts.method
    }

    /// The target, undecoded.
    pub fn uri(&self) -> &Uri {
        &self.inner.parts.uri
    }

    /// The target as it was sent, also where a router around this one has
    /// [stripped](crate::Router::nest_service) a prefix.
    pub fn original_uri(&self) -> &Uri {
        mount::original_uri(&self.inner.parts.extensions, &self.inner.parts.uri)
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.inner.parts.headers
    }

    /// The id of the last [event](crate::Event::id) that a client has seen which comes back to a
    /// stream of events.
    pub fn last_event_id(&self) -> Option<&str> {
        let id = self.headers().get("last-event-id")?;
        // Browsers write it in UTF-8, which is not a header's usual text.
        std::str::from_utf8(id.as_bytes()).ok().filter(|id| !id.is_empty())
    }

    /// What layers left for the handler.
    pub fn extensions(&self) -> &Extensions {
        &self.inner.parts.extensions
    }

    /// What layers left for the handler, for middleware to add to.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.inner.parts.extensions
    }

    /// The template that matched, such as `/orders/{id}`; `None` in middleware around a 404.
    pub fn route(&self) -> Option<&str> {
        self.shared_route().map(|route| &**route)
    }

    /// The parameter `name` of the path, percent-decoded and parsed.
    ///
    /// # Errors
    ///
    /// 400 if it is not UTF-8 or does not parse; 500 if the template has no such parameter.
    pub fn param<T>(&self, name: &str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Some(raw) = self.inner.params.get(name, self.uri().path()) else {
            let route = self.route().unwrap_or_default();
            return Err(Error::internal(format!("`{route}` has no parameter `{name}`")));
        };
        let text = percent_decode_str(raw).decode_utf8().map_err(|_| {
            Error::bad_request(format!("path parameter `{name}` is not UTF-8 when decoded"))
        })?;
        text.parse().map_err(|error| invalid_param::<T>(name, error))
    }

    /// The other end of the connection; `None` where no [`Server`](crate::Server) served the
    /// request. Behind a proxy it is the proxy.
    pub fn peer(&self) -> Option<&Address> {
        self.in_flight().map(|request| &request.link.peer)
    }

    /// The query string as a `T`; an absent one is empty. A name that comes several times is a
    /// sequence, such as a `Vec` with `#[serde(default)]`.
    ///
    /// # Errors
    ///
    /// 400 that names what is missing or does not parse.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let query = self.inner.parts.uri.query().unwrap_or_default();
        let pairs = serde_html_form::Deserializer::from_bytes(query.as_bytes());
        serde_path_to_error::deserialize(pairs).map_err(|error| invalid("query", &error))
    }

    /// The whole body as a `T`, from JSON. A body can be read once.
    ///
    /// The content type is not looked at, since what people type at a shell names the wrong one.
    /// Fields that `T` does not know are ignored unless it says `#[serde(deny_unknown_fields)]`.
    ///
    /// # Errors
    ///
    /// 400 if it is no JSON, or not that of a `T`, with the path of the field, which is also the
    /// member `field` of the answer; 413, 408 and 500 as [`bytes`](Self::bytes).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read of the body is lost.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let bytes = self.bytes().await?;
        if bytes.is_empty() {
            return Err(Error::bad_request("the body is empty; send JSON"));
        }
        let json = &mut serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut *json);
        let value = value.map_err(|error| invalid("body", &error))?;
        let trailing = |error| Error::bad_request(format!("the body is not valid: {error}"));
        json.end().map_err(trailing)?;
        Ok(value)
    }

    /// The whole body. A body can be read once.
    ///
    /// # Errors
    ///
    /// 413 if it is larger than the server takes, 408 if it does not arrive in time, 400 if it
    /// breaks off; 500 if it was read before, which is a mistake in the handler.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read of the body is lost.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        let body =
            self.inner.body.take().ok_or_else(|| Error::internal("the body was read before"))?;
        Ok(body.collect().await?.to_bytes())
    }

    /// Reads the head with an extractor of axum, such as its `WebSocketUpgrade`.
    ///
    /// # Errors
    ///
    /// What the extractor answers instead.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as the extractor is.
    pub async fn extract<T: FromRequestParts<()>>(&mut self) -> Result<T, T::Rejection> {
        self.inner.expose();
        T::from_request_parts(&mut self.inner.parts, &()).await
    }

    /// Reads the request with an extractor of axum that takes its body, such as its `Multipart`.
    /// Our [body limit](crate::RouteLimits::body_limit) holds, and axum's own does not.
    ///
    /// # Errors
    ///
    /// What the extractor answers instead.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read of the body is lost.
    pub async fn extract_body<T: FromRequest<()>>(self) -> Result<T, T::Rejection> {
        let mut request = self.into_http().map(axum_core::body::Body::new);
        DefaultBodyLimit::disable().apply(&mut request);
        T::from_request(request, &()).await
    }

    /// Gives the request another deadline, `timeout` after its head was read, and returns the
    /// context to go on with: it has the values of `ctx`, and the client is answered with 504 at
    /// its end and no longer at that of the other.
    ///
    /// It may be sooner or later than it was, up to what its [route] or its server grants, or up to
    /// [`Server::max_timeout`] where that is more; the client's own [budget] bounds it in any case.
    /// What was begun under other contexts of the request keeps their deadlines, and a context
    /// that has ended is returned as it is. Ask before you answer: what streams on then has the
    /// last deadline that was asked for. Under [`OnDisconnect::Finish`], a request whose client
    /// has left keeps the deadline that it had then.
    ///
    /// Where no [`Server`] serves the request, the deadline can only be sooner, and is counted from
    /// now.
    ///
    /// [route]: crate::RouteLimits::timeout
    /// [`Server`]: crate::Server
    /// [`Server::max_timeout`]: crate::Server::max_timeout
    /// [budget]: crate::Server::client_budget
    /// [`OnDisconnect::Finish`]: crate::OnDisconnect::Finish
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::Context;
    /// use downhaul_http::{Error, Request};
    /// use std::time::Duration;
    /// # async fn report(rows: u64) -> String { rows.to_string() }
    ///
    /// async fn export(ctx: Context, req: Request) -> Result<String, Error> {
    ///     let rows: u64 = req.param("rows")?;
    ///     let ctx = req.set_timeout(&ctx, Duration::from_secs(10 + rows / 1_000));
    ///     Ok(ctx.run(report(rows)).await?)
    /// }
    /// ```
    #[must_use = "the context that it was called with keeps its deadline"]
    pub fn set_timeout(&self, ctx: &Context, timeout: Duration) -> Context {
        set_timeout(self.in_flight(), ctx, timeout)
    }

    /// The request as other libraries know it, with its body if that was not read.
    pub fn into_http(mut self) -> http::Request<Body> {
        self.inner.expose();
        let Inner { parts, body, .. } = *self.inner;
        http::Request::from_parts(parts, body.unwrap_or_else(Body::empty))
    }
}

impl Inner {
    /// Shows extractors and services of others what our own find without.
    fn expose(&mut self) {
        if let Some(carried) = self.carried.take() {
            carried.expose(&mut self.parts.extensions, &self.parts.uri);
        }
    }
}

impl<S> fmt::Debug for Request<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", self.method())
            .field("uri", self.uri())
            .field("route", &self.route())
            .finish_non_exhaustive()
    }
}
