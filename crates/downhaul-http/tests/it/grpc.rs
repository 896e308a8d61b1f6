//! What gRPC asks of a server: trailers in both directions, and streams that flow at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use downhaul_context::Context;
use downhaul_http::{Body, BodyError, Router, Running, Server};
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::soon;

/// Messages as they are sent, and what a call ends with.
struct Sent(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Answers each message with itself and, after the last, with the trailers of the request and a
/// status.
struct Echo {
    request: Body,
    is_over: bool,
}

impl HttpBody for Echo {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.request).poll_frame(cx)).transpose()?;
        let mut trailers = match frame.map(Frame::into_data) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(Err(other)) => other.into_trailers().unwrap_or_default(),
            None => HeaderMap::new(),
        };
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("grpc-message", "all%20of%20it".parse().unwrap());
        self.is_over = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// `/Echo` echoes; whatever else is called is not implemented, which is said without a body.
async fn called(request: http::Request<Body>) -> Result<http::Response<Answer>, Infallible> {
    assert_eq!(request.headers()["te"], "trailers");
    let is_echo = request.uri().path().ends_with("/Echo");
    let response = http::Response::builder().header("content-type", "application/grpc");
    Ok(if is_echo {
        let echo = Echo { request: request.into_body(), is_over: false };
        response.body(Answer::new(echo)).unwrap()
    } else {
        response.header("grpc-status", "12").body(Answer::empty()).unwrap()
    })
}

type Answer = axum::body::Body;

/// The service by itself, and under a router of ours.
async fn servers() -> [Running; 2] {
    let ctx = Context::background;
    let bind = async || Server::bind("127.0.0.1:0").await.unwrap();
    let nested = Router::new().nest_service("/shop.Orders", tower::service_fn(called));
    [bind().await.serve(ctx(), tower::service_fn(called)), bind().await.serve(ctx(), nested)]
}

struct Call {
    messages: mpsc::UnboundedSender<Frame<Bytes>>,
    answer: http::Response<Incoming>,
}

impl Call {
    async fn begin(running: &Running, method: &str) -> Self {
        let tcp = TcpStream::connect(running.address().tcp().unwrap()).await.unwrap();
        let io = TokioIo::new(tcp);
        let (mut sender, conn) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(conn);
        let (messages, sent) = mpsc::unbounded_channel();
        let request = http::Request::post(format!("http://t/shop.Orders/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Sent(sent))
            .unwrap();
        // Comes before a message is sent.
        let answer = soon(sender.send_request(request)).await.unwrap();
        Self { messages, answer }
    }

    fn say(&self, message: &'static [u8]) {
        self.messages.send(Frame::data(Bytes::from_static(message))).unwrap();
    }

    async fn hear(&mut self) -> Option<Frame<Bytes>> {
        soon(self.answer.body_mut().frame()).await.map(Result::unwrap)
    }

    /// So many bytes, in as many frames as they come in.
    async fn hear_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.extend(self.hear().await.unwrap().into_data().unwrap());
        }
        heard
    }
}

#[tokio::test]
async fn messages_flow_both_ways_at_once() {
    /// More than the windows of a stream and of a connection hold.
    static LARGE: [u8; 200_000] = [7; 200_000];

    for running in servers().await {
        let mut call = Call::begin(&running, "Echo").await;
        for message in [&b"one"[..], b"two"] {
            call.say(message);
            assert_eq!(call.hear_bytes(3).await, message);
        }
        call.say(&LARGE);
        assert!(call.hear_bytes(LARGE.len()).await == LARGE);
        assert_eq!(running.in_flight(), 1);
        drop(call.messages);
        let last = soon(call.answer.body_mut().frame()).await.unwrap().unwrap();
        assert!(last.is_trailers());
    }
}

#[tokio::test]
async fn trailers_pass_unchanged_in_both_directions() {
    for running in servers().await {
        let mut call = Call::begin(&running, "Echo").await;
        call.say(b"one");
        let checksum =
            HeaderMap::from_iter([("x-sum-bin".parse().unwrap(), "AAEC".parse().unwrap())]);
        call.messages.send(Frame::trailers(checksum)).unwrap();
        assert_eq!(call.hear().await.unwrap().into_data().unwrap(), "one");
        let trailers = call.hear().await.unwrap().into_trailers().unwrap();
        assert_eq!(trailers["x-sum-bin"], "AAEC");
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"all%20of%20it".parse().unwrap())
        );
        assert_eq!(trailers.len(), 3);
        assert!(call.hear().await.is_none());
    }
}

#[tokio::test]
async fn a_status_without_a_body_comes_in_the_head() {
    for running in servers().await {
        let mut call = Call::begin(&running, "Other").await;
        assert_eq!(call.answer.status(), StatusCode::OK);
        assert_eq!(call.answer.headers()["grpc-status"], "12");
        assert!(call.answer.body().is_end_stream());
        assert!(call.hear().await.is_none());
    }
}
