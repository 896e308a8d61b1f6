//! hyper alone, and axum on it with what people add to it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::DuplexStream;
use tokio::task::yield_now;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use super::User;
use super::wire::Wire;

const BUDGET: Duration = Duration::from_secs(30);

/// Serves one connection with hyper.
pub(super) fn on_hyper<S, B>(service: S) -> Wire
where
    S: HttpService<Incoming, ResBody = B, Future: Send> + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    Wire::new(|server: DuplexStream| {
        let conn = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        tokio::spawn(async { conn.await.expect("the client behaves") });
    })
}

pub(super) fn hyper() -> Wire {
    on_hyper(by_hand())
}

/// hyper's own kind of service.
pub(super) trait ByHand:
    HttpService<Incoming, ResBody = Full<Bytes>, Future: Send, Error = Infallible> + Clone + Send
{
}

impl<S> ByHand for S where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Future: Send, Error = Infallible>
        + Clone
        + Send
{
}

pub(super) fn by_hand() -> impl ByHand {
    service_fn(async |request: Request<Incoming>| {
        Ok(if request.method() == Method::POST { echo(request).await } else { show(&request) })
    })
}

/// What was sent, read and written again.
async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Ok(body) = request.into_body().collect().await else { return Response::default() };
    let user = serde_json::from_slice::<User>(&body.to_bytes());
    user.map_or_else(|_| Response::default(), |user| json(&user))
}

/// The answer as one writes it by hand.
pub(super) fn show<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let id = request.uri().path().strip_prefix("/users/").and_then(|id| id.parse().ok());
    let Some(id) = id else { return Response::default() };
    json(&User::find(id))
}

fn json(user: &User) -> Response<Full<Bytes>> {
    let json = serde_json::to_vec(user).expect("it is JSON");
    let mut response = Response::new(Full::from(json));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

pub(super) fn axum() -> Wire {
    on_hyper(bare())
}

pub(crate) fn axum_full() -> Wire {
    on_hyper(all())
}

pub(super) fn bare() -> TowerToHyperService<Router> {
    TowerToHyperService::new(router())
}

pub(super) fn all() -> TowerToHyperService<Router> {
    TowerToHyperService::new(full(router()))
}

pub(super) fn axum_full_waiting() -> Wire {
    let wait = async |Path(id): Path<u64>| {
        yield_now().await;
        Json(User::find(id))
    };
    on_hyper(TowerToHyperService::new(full(Router::new().route("/users/{id}", get(wait)))))
}

fn router() -> Router {
    Router::new()
        .route("/users/{id}", get(async |Path(id): Path<u64>| Json(User::find(id))))
        .route("/users", post(async |Json(user): Json<User>| Json(user)))
}

/// A deadline, a request id in and out, and a span.
fn full(router: Router) -> Router {
    router
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, BUDGET))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
}
