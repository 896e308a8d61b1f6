//! A server under test and a client that writes and reads raw bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::response::{IntoResponse, Response as Answer};
use bytes::Bytes;
use downhaul_context::{Canceller, Cause, CauseKind, Context, TraceContext};
use downhaul_http::observe::{AccessLog, Ending, Outcome, RequestHead, RequestObserver};
use downhaul_http::{Error, Request, Router, Running, Server};
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tracing::Span;

/// Long enough that a test which waits for it has failed.
pub(crate) const NEVER: Duration = Duration::from_secs(30);

/// Fails a test that hangs.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(NEVER, future).await.expect("this should have happened long ago")
}

/// A clock that stands still until it is moved, also while all wait for a socket: the paused clock
/// alone runs ahead then.
pub(crate) struct StillClock(#[expect(dead_code, reason = "held")] std::sync::mpsc::Sender<()>);

impl StillClock {
    pub(crate) fn stop() -> Self {
        tokio::time::pause();
        let (hold, held) = std::sync::mpsc::channel();
        // As long as a thread that blocks is at work, the clock does not run ahead.
        // Longer than that no test takes, and then it runs into what `soon` allows.
        tokio::task::spawn_blocking(move || held.recv_timeout(NEVER));
        Self(hold)
    }

    /// Moves it, and lets whoever was waked by that have its turns.
    pub(crate) async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) struct Fixture {
    pub(crate) running: Running,
    /// Ends the context the server was given.
    pub(crate) root: Canceller,
}

impl Fixture {
    pub(crate) async fn start(router: Router) -> Self {
        Self::with(router, |server| server).await
    }

    pub(crate) async fn with(router: Router, set: impl FnOnce(Server) -> Server) -> Self {
        let (ctx, root) = Context::root();
        let server = set(Server::bind("127.0.0.1:0").await.unwrap());
        Self { running: server.serve(ctx, router), root }
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.running.address().tcp().unwrap()).await.unwrap())
    }

    /// One request on a connection of its own.
    pub(crate) async fn request(&self, request: &str) -> Response {
        let mut client = self.client().await;
        client.send(request).await;
        client.response().await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(&get(path)).await
    }

    /// Waits until no request is in flight.
    pub(crate) async fn quiet(&self) {
        soon(async {
            while self.running.in_flight() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub(crate) struct Client<T = TcpStream>(pub(crate) T);

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(crate) async fn response(&mut self) -> Response {
        soon(self.read_response()).await.expect("the connection was closed instead of an answer")
    }

    /// The next answer, or nothing when the server closed first.
    pub(crate) async fn read_response(&mut self) -> Option<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let response = Response { status, head, body: String::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Response { body: String::from_utf8(body).unwrap(), ..response })
    }

    /// Waits until the server closes, and returns what it sent before.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is a close, too.
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        rest
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }

    /// A member of the body, which is a JSON object.
    pub(crate) fn member(&self, name: &str) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        json[name].as_str().unwrap_or_default().to_owned()
    }
}

/// What a handler tells the test.
#[derive(Debug)]
pub(crate) enum Told {
    Begun,
    Ended(Cause),
    Aborted,
}

/// Why the context of a handler ended, which is the next that it tells.
pub(crate) async fn ended(told: &mut mpsc::UnboundedReceiver<Told>) -> CauseKind {
    let Some(Told::Ended(cause)) = soon(told.recv()).await else { panic!("not told") };
    cause.kind()
}

/// A route `GET /held`: tells when it begins, answers when it is released, and tells how it ended.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) release: Arc<Notify>,
    tell: mpsc::UnboundedSender<Told>,
}

pub(crate) fn held() -> (Held, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    (Held { release: Arc::new(Notify::new()), tell }, told)
}

impl Held {
    /// `/held` minds its context; `/deaf` does not.
    pub(crate) fn router(&self) -> Router {
        let (minding, deaf) = (self.clone(), self.clone());
        Router::new()
            .get("/fast", async |_: Context, _: Request| "fast")
            .get("/held", move |ctx, _| minding.clone().hold(ctx, true))
            .get("/deaf", move |ctx, _| deaf.clone().hold(ctx, false))
    }

    async fn hold(self, ctx: Context, minds: bool) -> Result<&'static str, Error> {
        self.tell.send(Told::Begun).unwrap();
        let mut alarm = Alarm(Some(self.tell.clone()));
        if minds {
            if let Err(cause) = ctx.run(self.release.notified()).await {
                alarm.0 = None;
                let _ = self.tell.send(Told::Ended(cause.clone()));
                return Err(cause.into());
            }
        } else {
            self.release.notified().await;
        }
        alarm.0 = None;
        Ok("released")
    }
}

/// Tells when the handler is dropped before its end.
struct Alarm(Option<mpsc::UnboundedSender<Told>>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(Told::Aborted);
        }
    }
}

/// Pieces as they are sent, or the same one for ever.
pub(crate) enum Pieces {
    Sent(mpsc::UnboundedReceiver<&'static str>),
    Endless,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = |piece: &'static str| Ok(Frame::data(Bytes::from_static(piece.as_bytes())));
        match self.get_mut() {
            Self::Sent(pieces) => pieces.poll_recv(cx).map(|sent| sent.map(piece)),
            Self::Endless => Poll::Ready(Some(piece("again and "))),
        }
    }
}

pub(crate) fn streamed(pieces: Pieces) -> Answer {
    axum::body::Body::new(pieces).into_response()
}

/// Tells the status of requests and how they end.
pub(crate) struct Seen(pub(crate) mpsc::UnboundedSender<(u16, Ending)>);

impl RequestObserver for Seen {
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        AccessLog::default().open(head)
    }

    fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
        let _ = self.0.send((outcome.status.as_u16(), outcome.ending));
    }
}
