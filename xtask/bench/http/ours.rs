//! Ours: the server, and its parts on hyper alone.

use std::convert::Infallible;

use axum_core::response::Response;
use downhaul_context::Context;
use downhaul_http::{Error, Json, Listener, Next, Request, Router, Server};
use tokio::task::yield_now;
use tower_service::Service;

use super::User;
use super::theirs::show;
use super::wire::Wire;

pub(super) async fn user(_ctx: Context, req: Request) -> Result<Json<User>, Error> {
    Ok(Json(User::find(req.param("id")?)))
}

async fn add(_ctx: Context, mut req: Request) -> Result<Json<User>, Error> {
    Ok(Json(req.json().await?))
}

async fn waiting(_ctx: Context, req: Request) -> Result<Json<User>, Error> {
    yield_now().await;
    Ok(Json(User::find(req.param("id")?)))
}

/// As any middleware does, it looks at the request and passes it on.
async fn middleware(ctx: Context, req: Request, next: Next) -> Result<Response, Error> {
    if req.headers().contains_key("x-forbidden") {
        return Err(Error::bad_request("nobody sends this"));
    }
    Ok(next.run(ctx, req).await)
}

/// Context, deadline, id, spans and log lines that nobody reads, a route, one middleware.
pub(crate) fn whole() -> Wire {
    served(router())
}

pub(crate) fn router() -> Router {
    Router::new().get("/users/{id}", user).post("/users", add).middleware(middleware)
}

/// The same with a handler that waits once.
pub(super) fn whole_waiting() -> Wire {
    served(Router::new().get("/users/{id}", waiting).middleware(middleware))
}

/// The server without a router.
pub(super) fn bare() -> Wire {
    served(tower::service_fn(async |request| Ok::<_, Infallible>(show(&request))))
}

fn served<S, B>(service: S) -> Wire
where
    S: Service<http::Request<downhaul_http::Body>, Response = http::Response<B>>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    S::Error: Into<downhaul_http::BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<downhaul_http::BoxError>,
{
    Wire::connected(async || {
        let (listener, connector) = Listener::in_memory();
        let running = Server::on(listener).serve(Context::background(), service);
        let client = connector.connect().await.expect("it listens");
        // It serves as long as the program runs.
        std::mem::forget(running);
        client
    })
}
