//! Requests of HTTP/1 that are malformed or odd, as a table: what is sent, what RFC 9110 and 9112
//! say about it, and what becomes of it.
//!
//! Each row is sent on a connection of its own, with a good request behind it. A refused one is
//! answered, and the connection ends before the good one; a taken one reaches the handler as the
//! row says, and so does the good one, or nothing. Whatever is smuggled would be seen there.

mod bodies;
mod heads;
mod hosts;
mod lines;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::{IntoResponse, Response as Answer};
use downhaul_context::Context;
use downhaul_http::{Body, Error, Running, Server};
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Client, NEVER, get};

use Becomes::{Followed, LastTaken, Refused, Taken};

/// Soon over, and yet enough for a busy machine to send a row.
const BRIEF: Duration = Duration::from_millis(500);

/// What becomes of a row.
#[derive(Debug)]
enum Becomes {
    /// Answered with this status; the connection ends.
    Refused(u16),
    /// The handler sees this, and the good request after it.
    Taken(&'static str),
    /// The handler sees this, and the connection ends.
    LastTaken(&'static str),
    /// The handler sees this, and what follows it is refused with this status.
    Followed(&'static str, u16),
}

/// One line of the table.
struct Row {
    what: &'static str,
    send: Vec<u8>,
    /// The section, and what it wants.
    rfc: &'static str,
    becomes: Becomes,
}

fn row(what: &'static str, send: impl Into<Vec<u8>>, rfc: &'static str, becomes: Becomes) -> Row {
    Row { what, send: send.into(), rfc, becomes }
}

/// Sends every row and reports all that became something else.
async fn check(rows: Vec<Row>) {
    let mut running = JoinSet::new();
    for row in rows {
        running.spawn(async move { row.check().await.err() });
    }
    let wrong: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Row {
    async fn check(self) -> Result<(), String> {
        let recorder = Recorder::default();
        let server = recorder.serve().await;
        let mut client = Client(TcpStream::connect(server.address().tcp().unwrap()).await.unwrap());
        let sent = [&self.send[..], get("/next").as_bytes()].concat();
        // The server may have refused and closed before all of it was written.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, &sent).await;
        let mut statuses = Vec::new();
        let mut open = true;
        while open && recorder.last() != "GET /next " {
            match timeout(NEVER, client.read_response()).await {
                Ok(Some(response)) if response.status == 100 => {}
                Ok(Some(response)) => statuses.push(response.status),
                Ok(None) => open = false,
                Err(_) => return Err(format!("{}: nothing comes", self.what)),
            }
        }
        let (seen, Self { what, rfc, becomes, .. }) = (recorder.take(), self);
        let is_as_said = match &becomes {
            Refused(status) => (&*statuses, &*seen, open) == (&[*status], &[], false),
            Taken(first) => seen == [*first, "GET /next "] && open,
            LastTaken(only) => (&*statuses, open) == (&[200], false) && seen == [*only],
            Followed(first, status) => {
                (&*statuses, open) == (&[200, *status], false) && seen == [*first]
            }
        };
        let end = if open { "stays" } else { "ends" };
        let is_not =
            || format!("{what} ({rfc}): {statuses:?}, {seen:?}, it {end}: not {becomes:?}");
        if is_as_said { Ok(()) } else { Err(is_not()) }
    }
}

/// Keeps the method, the target and the body of each request that came in whole.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    async fn serve(&self) -> Running {
        let recorder = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let recorder = recorder.clone();
            async move { Ok::<_, Infallible>(recorder.record(request).await.into_response()) }
        });
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        // What waits for more than was sent is not to wait for long.
        let server = server.body_timeout(BRIEF).idle_timeout(BRIEF).header_timeout(BRIEF);
        server.serve(Context::background(), service)
    }

    async fn record(self, request: http::Request<Body>) -> Result<Answer, Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        self.0.lock().unwrap().push(format!("{} {} {body}", head.method, head.uri));
        Ok("seen".into_response())
    }

    fn last(&self) -> String {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
