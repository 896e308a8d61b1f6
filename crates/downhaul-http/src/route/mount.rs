//! [`OriginalUri`], and services of others under a prefix of a router.

use std::future::poll_fn;
use std::sync::Arc;

use axum_core::response::IntoResponse;
use http::uri::PathAndQuery;
use http::{Extensions, Uri};
use tower_service::Service;

use crate::error::{BoxError, Error};
use crate::lifetime::body::Body;
use crate::lifetime::tracked::Tracked;
use crate::route::endpoint::Endpoint;
use crate::route::request::Request;

/// The target of a request as it was sent, for a service that is
/// [nested](crate::Router::nest_service) and sees its own part alone: an extension of the request.
///
/// With the feature `axum` it is an extractor too. Axum's own of that name knows only what axum has
/// nested.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper that handlers take apart in the signature")]
pub struct OriginalUri(pub Uri);

pub(crate) fn original_uri<'a>(extensions: &'a Extensions, uri: &'a Uri) -> &'a Uri {
    let sent = extensions.get().map(|Tracked { uri, .. }| uri);
    let kept = || extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri);
    sent.or_else(kept).unwrap_or(uri)
}

/// Answers with `service`, which sees of the path what comes after the prefix.
pub(crate) fn mounted<S, T>(service: T) -> Endpoint<S>
where
    S: Send + Sync + 'static,
    T: Service<http::Request<Body>> + Clone + Send + Sync + 'static,
    T::Response: IntoResponse,
    T::Error: Into<BoxError>,
    T::Future: Send + 'static,
{
    Arc::new(move |ctx, request: Request<S>| {
        let mut service = service.clone();
        let rest = request.rest().map_or(0, str::len);
        let mut request = request.into_http();
        let original = original_uri(request.extensions(), request.uri()).clone();
        request.extensions_mut().insert(OriginalUri(original));
        // Middleware may have passed on another one than the server put there.
        request.extensions_mut().insert(ctx);
        *request.uri_mut() = stripped(request.uri(), rest);
        Box::pin(async move {
            let answer = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            };
            match answer.await {
                Ok(answer) => answer.into_response(),
                Err(error) => Error::internal(error).into_response(),
            }
        })
    })
}

/// `uri` with the last `rest` bytes of its path alone, after a slash.
fn stripped(uri: &Uri, rest: usize) -> Uri {
    let path = uri.path();
    let from = path.len().saturating_sub(rest + 1);
    let path = if rest == 0 { "/" } else { &path[from..] };
    let path_and_query = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path_and_query.ok();
    // It was a target before and is shorter now, so that it is one still.
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
