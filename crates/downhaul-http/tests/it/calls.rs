//! Calls to other services, which are part of the request that makes them.

use std::convert::Infallible;
use std::time::Duration;

use downhaul_context::{Canceller, Cause, CauseKind, Context, RequestId};
use downhaul_http::{Body, CallError, CallLayer, Calls, Error, Request, Router};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceExt};

use crate::support::{Fixture, Pieces, StillClock, Told, ended, held, soon, streamed};

const SECOND: Duration = Duration::from_secs(1);
const RESERVE: Duration = Duration::from_millis(100);

type Client = Calls<Legacy<HttpConnector, Body>>;

fn client(http2: bool) -> Client {
    let legacy = Legacy::builder(TokioExecutor::new()).http2_only(http2).build_http();
    CallLayer::new(RESERVE).layer(legacy)
}

fn get(server: &Fixture, path: &str) -> http::Request<Body> {
    let url = format!("http://{}{path}", server.running.address());
    http::Request::get(url).body(Body::empty()).unwrap()
}

fn get_under(server: &Fixture, path: &str, ctx: &Context) -> http::Request<Body> {
    let mut request = get(server, path);
    request.extensions_mut().insert(ctx.clone());
    request
}

fn budget(timeout: Duration) -> (Context, Canceller) {
    Context::background().with_value(RequestId::generate()).with_timeout(timeout)
}

/// `/told` answers what the caller has told: the request id and the milliseconds that are left.
fn told() -> Router {
    Router::new().get("/told", async |ctx: Context, _: Request| {
        let left = ctx.remaining().map_or(0, |left| left.as_millis());
        format!("{} {left}", ctx.value::<RequestId>().unwrap())
    })
}

async fn text<B: http_body::Body>(answer: http::Response<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn the_other_side_has_the_request_id_and_less_time() {
    let _clock = StillClock::stop();
    let server = Fixture::start(told()).await;
    let (ctx, _canceller) = budget(2 * SECOND);
    let id = ctx.value::<RequestId>().unwrap().to_string();
    for http2 in [false, true] {
        let answer = client(http2).oneshot(get_under(&server, "/told", &ctx)).await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], id);
        assert_eq!(text(answer).await, format!("{id} 1900"));
    }
}

#[tokio::test]
async fn one_without_a_context_goes_out_as_it_is() {
    let _clock = StillClock::stop();
    let server = Fixture::start(told()).await;
    let answer = client(false).oneshot(get(&server, "/told")).await.unwrap();
    assert!(text(answer).await.ends_with(" 30000"));
}

#[tokio::test]
async fn a_caller_whose_context_ends_has_its_answer_and_the_other_side_sees_it_leave() {
    for http2 in [false, true] {
        let (held, mut told) = held();
        let server = Fixture::start(held.router()).await;
        let (ctx, canceller) = Context::root();
        let call = client(http2).oneshot(get_under(&server, "/held", &ctx));
        let call = tokio::spawn(call);
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        canceller.cancel();
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(error.cause().map(|cause| cause.kind()), Some(CauseKind::Cancelled));
        assert!(error.to_string().starts_with("the call was ended: "), "{error}");
        assert_eq!(ended(&mut told).await, CauseKind::ClientGone, "http2: {http2}");
    }
}

#[tokio::test]
async fn an_answer_that_is_still_coming_ends_with_the_context_and_the_other_side_sees_it() {
    for http2 in [false, true] {
        let (give, mut given) = mpsc::unbounded_channel();
        let router = Router::new().get("/stream", move |_: Context, _: Request| {
            let (send, pieces) = mpsc::unbounded_channel();
            give.send(send).unwrap();
            async { streamed(Pieces::Sent(pieces)) }
        });
        let server = Fixture::start(router).await;
        let (ctx, canceller) = Context::root();
        let answer = client(http2).oneshot(get_under(&server, "/stream", &ctx)).await.unwrap();
        let mut body = answer.into_body();
        let send = soon(given.recv()).await.unwrap();
        send.send("half").unwrap();
        let half = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(half, "half");
        let mut next = body.frame();
        tokio::select! {
            biased;
            frame = &mut next => panic!("{frame:?}"),
            () = tokio::task::yield_now() => assert!(canceller.cancel()),
        }
        let error = soon(next).await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::Ended(_)), "{error}");
        // The body itself is still held here.
        soon(send.closed()).await;
        assert!(soon(body.frame()).await.is_none());
    }
}

#[tokio::test]
async fn where_no_time_is_left_nothing_is_sent() {
    let _clock = StillClock::stop();
    let unreachable = || http::Request::get("http://127.0.0.1:1/").body(Body::empty()).unwrap();
    let call = |ctx: &Context| {
        let mut request = unreachable();
        request.extensions_mut().insert(ctx.clone());
        client(false).oneshot(request)
    };
    let (ctx, canceller) = budget(RESERVE);
    let error = call(&ctx).await.unwrap_err();
    assert!(matches!(error, CallError::NoTime), "{error}");
    assert_eq!(Error::from(error).status(), 504);

    canceller.cancel();
    let error = call(&ctx).await.unwrap_err();
    assert_eq!(error.cause().map(|cause| cause.kind()), Some(CauseKind::Cancelled));
    assert_eq!(Error::from(error).status(), 503);

    let (ctx, _canceller) = budget(RESERVE + Duration::from_millis(1));
    let error = call(&ctx).await.unwrap_err();
    assert!(matches!(error, CallError::Failed(_)), "{error}");
    assert_eq!(Error::from(error).status(), 502);
}

/// So that who has made it can still say something else.
#[tokio::test(start_paused = true)]
async fn one_that_is_not_answered_is_over_while_the_reserve_is_left() {
    let hangs = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, Infallible>>()
    });
    let (ctx, _canceller) = Context::background().with_timeout(10 * SECOND);
    let call = http::Request::get("/").extension(ctx.clone()).body(Body::empty()).unwrap();
    let error = soon(CallLayer::new(SECOND).layer(hangs).oneshot(call)).await.unwrap_err();
    assert_eq!(error.cause().map(Cause::kind), Some(CauseKind::Deadline));
    assert_eq!((ctx.remaining(), ctx.is_done()), (Some(SECOND), false));
}

#[tokio::test]
async fn what_a_handler_passes_on_is_under_its_own_context() {
    let _clock = StillClock::stop();
    let inner = Fixture::start(told()).await;
    let url = format!("http://{}/told", inner.running.address());
    let forwards = Router::new().get("/forward", move |_: Context, req: Request| {
        let url = url.parse().unwrap();
        async move {
            let mut request = req.into_http();
            *request.uri_mut() = url;
            request.headers_mut().remove("host");
            let mut client = client(false);
            let answer = client.ready().await?.call(request).await?;
            Ok::<_, Error>(text(answer).await)
        }
    });
    let server = Fixture::with(forwards, |server| server.timeout(3 * SECOND)).await;
    let answer = server.get("/forward").await;
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(answer.body, format!("{id} 2900"));
}

#[tokio::test]
async fn an_answer_that_is_always_there_does_not_outlast_its_context() {
    let endless = tower::service_fn(async |_: http::Request<Body>| {
        Ok::<_, Infallible>(http::Response::new(Pieces::Endless))
    });
    let (ctx, canceller) = Context::root();
    let request = http::Request::get("/").extension(ctx).body(Body::empty()).unwrap();
    let answer = CallLayer::new(RESERVE).layer(endless).oneshot(request).await.unwrap();
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    canceller.cancel();
    let Some(Err(error)) = body.frame().await else { panic!("it goes on") };
    assert!(matches!(error, CallError::Ended(_)), "{error}");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_last_piece_of_an_answer_is_had_though_the_context_has_ended() {
    let whole = tower::service_fn(async |_: http::Request<Body>| {
        Ok::<_, Infallible>(http::Response::new(Body::from("whole")))
    });
    let (ctx, canceller) = Context::root();
    let request = http::Request::get("/").extension(ctx).body(Body::empty()).unwrap();
    let answer = CallLayer::new(RESERVE).layer(whole).oneshot(request).await.unwrap();
    canceller.cancel();
    assert_eq!(text(answer).await, "whole");
}
