//! Answers that are sent in pieces.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::response::IntoResponse;
use bytes::Bytes;
use downhaul_context::{Context, TraceContext};
use downhaul_http::observe::{Ending, Outcome};
use downhaul_http::{DrainPlan, Request, RequestObserver, RouteLimits, Router};
use http_body::Frame;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tracing::Span;

use crate::support::{Fixture, Pieces, Seen, get, soon, streamed};

/// Soon over, and yet enough for a busy machine to begin an answer.
const BRIEF: Duration = Duration::from_millis(500);

/// `/stream` answers in the pieces that are sent by what is returned, once it was asked.
fn stream() -> (Router, mpsc::UnboundedReceiver<mpsc::UnboundedSender<&'static str>>) {
    let (give, given) = mpsc::unbounded_channel();
    let router = Router::new().get("/stream", move |_: Context, _: Request| {
        let (send, pieces) = mpsc::unbounded_channel();
        give.send(send).unwrap();
        async { streamed(Pieces::Sent(pieces)) }
    });
    (router, given)
}

/// What a client reads before the connection ends.
async fn read(server: &Fixture, path: &str) -> String {
    let mut client = server.client().await;
    client.send(&get(path)).await;
    String::from_utf8(client.rest().await).unwrap()
}

#[tokio::test]
async fn one_that_is_not_done_at_the_deadline_is_cut_and_does_not_look_whole() {
    let (router, mut given) = stream();
    let (see, mut seen) = mpsc::unbounded_channel();
    let server = Fixture::with(router, |server| server.timeout(BRIEF).observer(Seen(see))).await;
    let sending = async {
        let send = given.recv().await.unwrap();
        send.send("half").unwrap();
        // Held open until the client has read to the end of the connection.
        send
    };
    let (read, _send) = tokio::join!(read(&server, "/stream"), sending);
    assert!(read.starts_with("HTTP/1.1 200") && read.contains("half"), "{read}");
    assert!(!read.ends_with("0\r\n\r\n"), "{read}");
    assert_eq!(soon(seen.recv()).await, Some((200, Ending::Deadline)));
    server.quiet().await;
}

#[tokio::test]
async fn one_of_http_1_0_that_is_cut_ends_with_a_reset_and_a_whole_one_does_not() {
    let (router, mut given) = stream();
    let server = Fixture::with(router, |server| server.timeout(BRIEF)).await;
    for is_whole in [true, false] {
        let mut client = server.client().await;
        client.send("GET /stream HTTP/1.0\r\n\r\n").await;
        let send = soon(given.recv()).await.unwrap();
        send.send("half").unwrap();
        let _held = (!is_whole).then_some(send);
        let read = soon(client.0.read_to_end(&mut Vec::new())).await;
        assert_eq!(read.is_ok(), is_whole, "{read:?}");
    }
}

#[tokio::test]
async fn one_that_is_shorter_than_it_was_said_to_be_is_told_as_failed() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let router = Router::new().get("/", async |_: Context, _: Request| {
        let (send, pieces) = mpsc::unbounded_channel();
        send.send("half").unwrap();
        ([("content-length", "8")], streamed(Pieces::Sent(pieces)))
    });
    let server = Fixture::with(router, |server| server.observer(Seen(see))).await;
    read(&server, "/").await;
    assert_eq!(soon(seen.recv()).await, Some((200, Ending::Failed)));
}

#[tokio::test]
async fn one_that_never_pauses_is_cut_too() {
    let router = Router::new().get("/", async |_: Context, _: Request| streamed(Pieces::Endless));
    let server = Fixture::with(router, |server| server.timeout(BRIEF)).await;
    assert!(read(&server, "/").await.contains("again and "));
    server.quiet().await;
}

#[tokio::test]
async fn one_without_a_deadline_goes_on() {
    let (router, mut given) = stream();
    let (held, _told) = crate::support::held();
    let streams = router.limits(RouteLimits::new().no_timeout());
    let router = Router::new().nest("", streams).nest("", held.router());
    let server = Fixture::with(router, |server| server.timeout(BRIEF)).await;
    let mut client = server.client().await;
    client.send(&get("/stream")).await;
    let send = soon(given.recv()).await.unwrap();
    // This one began later, and its time is over.
    assert_eq!(server.get("/held").await.status, 504);
    send.send("all of it").unwrap();
    drop(send);
    let whole = tokio::time::timeout(Duration::from_secs(30), async {
        let mut read = Vec::new();
        while !read.ends_with(b"0\r\n\r\n") {
            read.push(tokio::io::AsyncReadExt::read_u8(&mut client.0).await.unwrap());
        }
        String::from_utf8(read).unwrap()
    });
    assert!(whole.await.unwrap().contains("all of it"));
}

#[tokio::test]
async fn one_that_is_not_done_when_a_drain_cancels_is_cut() {
    let (router, mut given) = stream();
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&get("/stream")).await;
    let send = soon(given.recv()).await.unwrap();
    send.send("half").unwrap();
    let plan =
        DrainPlan::default().without_lame_duck().finish(BRIEF).force(Duration::from_secs(60));
    let report = soon(server.running.drain(plan)).await;
    assert!(report.forced.is_empty() && report.cancelled == 1, "{report}");
    assert!(!client.rest().await.ends_with(b"0\r\n\r\n"));
}

/// A piece, a pause in which it is sent, and then an end that is none.
struct Breaking {
    panics: bool,
    polls: usize,
}

impl http_body::Body for Breaking {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.polls += 1;
        match self.polls {
            1 => Poll::Ready(Some(Ok(Frame::data("half".into())))),
            2 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ if self.panics => panic!("in the body"),
            _ => Poll::Ready(Some(Err(std::io::Error::other("the disk is gone")))),
        }
    }
}

#[tokio::test]
async fn one_that_fails_or_panics_after_its_head_is_cut_and_told_as_what_it_is() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let breaking = |panics| {
        move |_: Context, _: Request| async move {
            http::Response::new(axum::body::Body::new(Breaking { panics, polls: 0 }))
        }
    };
    let router = Router::new().get("/fails", breaking(false)).get("/panics", breaking(true));
    let server = Fixture::with(router, |server| server.observer(Seen(see))).await;
    for (path, ending) in [("/fails", Ending::Failed), ("/panics", Ending::Panicked)] {
        let answer = read(&server, path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
        assert_eq!(soon(seen.recv()).await, Some((200, ending)), "{path}");
    }
    server.quiet().await;
}

/// What hyper does not ask to its end: it has all that was announced, or the trailers.
#[tokio::test]
async fn one_that_does_not_say_that_it_is_over_is_answered_all_the_same() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let announced = async |_: Context, _: Request| {
        let (send, pieces) = mpsc::unbounded_channel();
        send.send("two ").unwrap();
        send.send("pieces").unwrap();
        ([("content-length", "10")], streamed(Pieces::Sent(pieces)))
    };
    let empty = async |_: Context, _: Request| {
        ([("content-length", "0")], streamed(Pieces::Sent(mpsc::unbounded_channel().1)))
    };
    let trailed = async |_: Context, _: Request| {
        let frames = [Frame::data(Bytes::from("data")), Frame::trailers(http::HeaderMap::new())];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>));
        axum::body::Body::new(http_body_util::StreamBody::new(frames)).into_response()
    };
    let router =
        Router::new().get("/announced", announced).get("/empty", empty).get("/trailed", trailed);
    let server = Fixture::with(router, |server| server.observer(Seen(see))).await;
    for path in ["/announced", "/empty", "/trailed"] {
        assert_eq!(server.get(path).await.status, 200);
        assert_eq!(soon(seen.recv()).await, Some((200, Ending::Answered)), "{path}");
    }
    server.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_access_line_tells_the_answer_from_its_end() {
    use downhaul_http::observe::{AccessLog, Outcome, RequestHead, RequestObserver};
    use downhaul_http::{Listener, Server};
    use tracing::Span;

    use crate::support::Client;

    struct Times(mpsc::UnboundedSender<(u64, u64)>);
    impl RequestObserver for Times {
        fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
            AccessLog::default().open(head)
        }

        fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
            self.0.send((outcome.handled.as_secs(), outcome.took.as_secs())).unwrap();
        }
    }

    let (tell, mut told) = mpsc::unbounded_channel();
    let (give, mut given) = mpsc::unbounded_channel();
    let router = Router::new().get("/stream", move |_: Context, _: Request| {
        let (send, pieces) = mpsc::unbounded_channel();
        give.send(send).unwrap();
        async {
            tokio::time::sleep(Duration::from_secs(2)).await; // tidy: the paused clock
            streamed(Pieces::Sent(pieces))
        }
    });
    let (listener, connector) = Listener::in_memory();
    let server = Server::on(listener).observer(Times(tell));
    let _running = server.serve(Context::background(), router);
    let mut client = Client(connector.connect().await.unwrap());
    client.send(&get("/stream")).await;
    let send = given.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await; // tidy: the paused clock
    drop(send);
    assert_eq!(told.recv().await, Some((2, 7)));
}

/// Hears who got how much.
struct Shares(mpsc::UnboundedSender<(bool, u64)>);

impl RequestObserver for Shares {
    fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
        let is_loopback = outcome.peer.ip().is_some_and(|ip| ip.is_loopback());
        self.0.send((is_loopback, outcome.sent)).unwrap();
    }
}

#[tokio::test]
async fn an_observer_hears_who_got_how_much() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let (router, mut given) = stream();
    let router = router.get("/whole", async |_: Context, _: Request| "whole");
    let server = Fixture::with(router, |server| server.observer(Shares(see))).await;
    assert_eq!(server.get("/whole").await.body, "whole");
    assert_eq!(soon(seen.recv()).await, Some((true, 5)));
    let sending = async {
        let send = given.recv().await.unwrap();
        send.send("two").unwrap();
        send.send("pieces").unwrap();
    };
    let (response, ()) = tokio::join!(server.get("/stream"), sending);
    assert_eq!(response.status, 200);
    assert_eq!(soon(seen.recv()).await, Some((true, 9)));
}
