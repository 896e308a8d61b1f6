//! Errors with their context as answers: what the client reads, and what is logged.

use std::borrow::Cow;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use downhaul_context::{Class, Context, Kind, RequestId, ResultExt, Traced, ambient};
use downhaul_http::observe::Ending;
use downhaul_http::{Body, Error, Json, Request, Router};
use http_body::{Body as HttpBody, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Fixture, Response, Seen, get};

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("no order {0} in shard 3")]
    NotFound(u64),
    #[error("the orders cannot be read")]
    Store(#[source] io::Error),
    #[error("text that says deadline, not found, cancelled")]
    Of(Class),
}

impl Kind for OrderError {
    fn class(&self) -> Class {
        match self {
            Self::NotFound(_) => Class::NotFound,
            Self::Store(_) => Class::Internal,
            Self::Of(class) => *class,
        }
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::Store(_) => "orders.store",
            _ => self.class().as_str(),
        }
    }

    fn public(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::NotFound(_)).then_some("no such order".into())
    }
}

fn find(ctx: &Context) -> Result<u64, Traced<OrderError>> {
    let broken = Err(OrderError::Store(io::Error::other("disk on fire")));
    broken.layer(ctx, "repo.find").kv("order", 7).kv_secret("token", "s3cret")
}

async fn get_order(ctx: Context, _: Request) -> Result<Json<u64>, Error> {
    Ok(Json(find(&ctx).layer(&ctx, "http.get_order").kv("user_id", 42)?))
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn capture() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(Level::DEBUG)
            .with_writer(lines.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn of(&self, level: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let is_of = |line: &&str| line.trim_start().starts_with(level);
        text.lines().filter(is_of).map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn document(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

#[tokio::test]
async fn a_traced_error_is_one_error_line_with_all_of_it_and_the_client_reads_none_of_it() {
    let (lines, _guard) = Lines::capture();
    let response = Fixture::start(Router::new().get("/", get_order)).await.get("/").await;
    let id = response.header("x-request-id").unwrap();
    let expected = json!({
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the server failed; tell its operators the request id",
        "request_id": id,
    });
    assert_eq!((response.status, document(&response)), (500, expected));
    let errors = lines.of("ERROR");
    let line = format!(
        "error=http.get_order{{user_id=42}}: repo.find{{order=7, token=<redacted>}}: the orders \
         cannot be read: disk on fire [request_id={id}]"
    );
    assert!(errors.len() == 1 && errors[0].contains(&line), "{errors:#?}");
    assert!(errors[0].contains("error.type=\"orders.store\""), "{errors:#?}");
}

#[tokio::test]
async fn a_failure_that_a_layer_has_logged_is_not_logged_again() {
    let (lines, _guard) = Lines::capture();
    let handler = |ctx: Context, _: Request| async move {
        let error = find(&ctx).unwrap_err();
        error.log_once(|| tracing::error!(%error, "logged by a layer"));
        Err::<(), Error>(error.into())
    };
    let response = Fixture::start(Router::new().get("/", handler)).await.get("/").await;
    let errors = lines.of("ERROR");
    assert_eq!((response.status, errors.len()), (500, 1), "{errors:#?}");
    assert!(errors[0].contains("logged by a layer"), "{errors:#?}");
}

#[tokio::test]
async fn what_a_kind_makes_public_is_all_that_the_client_reads_of_it() {
    let (lines, _guard) = Lines::capture();
    let handler = |ctx: Context, _: Request| async move {
        Err::<(), Error>(Traced::new(&ctx, "get", OrderError::NotFound(7)).into())
    };
    let response = Fixture::start(Router::new().get("/", handler)).await.get("/").await;
    assert_eq!((response.status, &document(&response)["detail"]), (404, &json!("no such order")));
    assert_eq!(lines.of("ERROR"), [""; 0]);
    let told = lines.of("DEBUG");
    let is_told = |line: &String| line.contains("error=get: no order 7 in shard 3 [request_id=");
    assert_eq!(told.iter().filter(|line| is_told(line)).count(), 1, "{told:#?}");
}

#[test]
fn the_status_is_that_of_the_class_and_never_of_the_text() {
    let statuses = [
        (Class::Invalid, 400),
        (Class::Unauthenticated, 401),
        (Class::Forbidden, 403),
        (Class::NotFound, 404),
        (Class::Conflict, 409),
        (Class::Internal, 500),
        (Class::Unavailable, 503),
        (Class::Timeout, 504),
    ];
    for (class, status) in statuses {
        let traced = Traced::new(&Context::background(), "get", OrderError::Of(class));
        let error = Error::from(traced);
        assert_eq!(error.status().as_u16(), status);
        assert!(!error.to_string().contains("text that says"), "{error}");
    }
}

#[test]
fn a_failure_of_work_that_was_cut_short_is_a_503_or_at_the_deadline_a_504() {
    let failed = |ctx: &Context| {
        let failed = Err::<(), _>(OrderError::Store(io::Error::other("reset")));
        Error::from(failed.layer(ctx, "get").unwrap_err()).status().as_u16()
    };
    let (ctx, canceller) = Context::background().with_value(RequestId::generate()).child();
    canceller.cancel();
    assert_eq!(failed(&ctx), 503);
    let (ctx, _canceller) = Context::background().with_timeout(std::time::Duration::ZERO);
    assert_eq!(failed(&ctx), 504);
}

/// Follows the rules, and is cut short by `?` when its client leaves.
async fn wait(ctx: Context, _: Request) -> Result<(), Error> {
    Ok(ctx.run(pending()).await?)
}

async fn wait_traced(ctx: Context, _: Request) -> Result<(), Error> {
    let broken = || OrderError::Store(io::Error::other("hung up"));
    let waited = ctx.run(pending::<()>()).await.map_err(|_| broken());
    Ok(waited.layer(&ctx, "http.wait")?)
}

#[tokio::test]
async fn a_client_that_leaves_is_no_error_line() {
    let (lines, _guard) = Lines::capture();
    let router = Router::new().get("/plain", wait).get("/traced", wait_traced);
    let server = Fixture::start(router).await;
    for path in ["/plain", "/traced"] {
        let mut client = server.client().await;
        client.send(&get(path)).await;
        while server.running.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        drop(client);
        server.quiet().await;
    }
    let (errors, debug) = (lines.of("ERROR"), lines.of("DEBUG"));
    let cut_short = debug.iter().filter(|line| line.contains("handler was cut short")).count();
    assert!(errors.is_empty() && cut_short == 2, "{errors:#?} {debug:#?}");
}

/// A client says how long it waits, and so when that is.
#[tokio::test]
async fn a_handler_that_its_deadline_cuts_short_is_a_warning_and_said_to_be_late() {
    let (lines, _guard) = Lines::capture();
    let (see, mut seen) = mpsc::unbounded_channel();
    let router = Router::new().get("/plain", wait).get("/traced", wait_traced);
    let server = Fixture::with(router, |server| server.observer(Seen(see))).await;
    for path in ["/plain", "/traced"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: t\r\nx-request-timeout-ms: 20\r\n\r\n");
        assert_eq!(server.request(&head).await.status, 504);
        assert_eq!(seen.recv().await, Some((504, Ending::Deadline)));
    }
    let (errors, warned) = (lines.of("ERROR"), lines.of("WARN"));
    assert!(errors.is_empty() && warned.len() == 2, "{errors:#?} {warned:#?}");
    assert!(warned.iter().all(|line| line.contains("handler was cut short")), "{warned:#?}");
}

/// Says when it is asked for a piece, and when it is dropped.
struct Talking(u8);

impl HttpBody for Talking {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        tracing::warn!(piece = self.0, "made");
        self.0 += 1;
        Poll::Ready((self.0 < 3).then(|| Ok(Frame::data(Bytes::from_static(b"piece")))))
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let id = ambient::value::<RequestId>().map(|id| id.to_string());
        tracing::warn!(id, "dropped");
    }
}

#[tokio::test]
async fn what_an_answer_logs_while_it_is_sent_has_the_id_of_its_request() {
    ambient::track();
    let (lines, _guard) = Lines::capture();
    let talk = async |_: Context, _: Request| Body::new(Talking(0));
    let server = Fixture::start(Router::new().get("/", talk)).await;
    let response = server.get("/").await;
    server.quiet().await;
    let (id, warned) = (response.header("x-request-id").unwrap(), lines.of("WARN"));
    assert_eq!((response.status, warned.len()), (200, 4), "{warned:#?}");
    let names = |line: &String| line.contains(&format!("http.request{{request_id={id}"));
    assert!(warned.iter().all(names), "{id}: {warned:#?}");
    assert!(warned[3].contains(&format!("id=\"{id}\"")), "{warned:#?}");
}

#[tokio::test]
async fn a_handler_whose_body_does_not_come_is_not_blamed() {
    let (lines, _guard) = Lines::capture();
    let read = async |_: Context, mut req: Request| req.bytes().await.map(|_| ());
    let server = Fixture::with(Router::new().post("/", read), |server| {
        server.timeout(Duration::from_millis(20)).cancel_grace(Duration::from_millis(10))
    });
    let server = server.await;
    let mut client = server.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").await;
    assert_eq!(client.response().await.status, 408);
    server.quiet().await;
    let warned = lines.of("WARN");
    assert!(warned.is_empty() && !lines.of("DEBUG").is_empty(), "{warned:#?}");
}
