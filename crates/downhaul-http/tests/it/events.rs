//! Streams of events.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum_core::response::IntoResponse;
use downhaul_context::Context;
use downhaul_http::observe::Ending;
use downhaul_http::{DrainPlan, Event, Request, RouteLimits, Router, Sse};
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::support::{Client, Fixture, Seen, StillClock, get, soon};

const SECOND: Duration = Duration::from_secs(1);
/// How a chunked body ends that is whole.
const WHOLE: &str = "0\r\n\r\n";

async fn written(event: Event) -> String {
    let answer = Sse::new(&Context::background(), stream::iter([event])).into_response();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn an_event_is_written_field_by_field_and_line_by_line() {
    for (event, text) in [
        (Event::new("a"), "data: a\n\n"),
        (Event::new(""), "data: \n\n"),
        (Event::new("a\nb\rc\r\nd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        (Event::new(" ü: "), "data:  ü: \n\n"),
        (Event::json(&["a\nb"]).unwrap(), "data: [\"a\\nb\"]\n\n"),
        (Event::default().comment("a\nb"), ": a\n: b\n\n"),
        (Event::default().retry(3 * SECOND), "retry: 3000\n\n"),
        (
            Event::new("a").id("7").event("kind").retry(SECOND).comment("why"),
            ": why\nevent: kind\nid: 7\nretry: 1000\ndata: a\n\n",
        ),
    ] {
        assert_eq!(written(event).await, text);
    }
}

#[tokio::test]
async fn no_value_breaks_out_of_its_line() {
    let evil = "x\n\ndata: forged\r\rid: 9\r\n\0";
    let text = written(Event::new("a").event(evil).id(evil).comment(evil)).await;
    assert_eq!(
        text,
        ": x\n: \n: data: forged\n: \n: id: 9\n: \0\n\
         event: xdata: forgedid: 9\nid: xdata: forgedid: 9\ndata: a\n\n"
    );
    assert_eq!(written(Event::new(evil)).await.matches("\n\n").count(), 1);
}

/// Events as they are sent; tells when it is dropped.
struct Sent(mpsc::UnboundedReceiver<Event>, Option<mpsc::UnboundedSender<()>>);

impl Stream for Sent {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Event>> {
        self.0.poll_recv(cx)
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(tell) = self.1.take() {
            let _ = tell.send(());
        }
    }
}

/// `/events` is the stream of what is sent, once; `/endless` never pauses.
struct Streaming {
    router: Router,
    send: mpsc::UnboundedSender<Event>,
    dropped: mpsc::UnboundedReceiver<()>,
}

fn streaming() -> Streaming {
    let (send, sent) = mpsc::unbounded_channel();
    let (tell, dropped) = mpsc::unbounded_channel();
    let events = Arc::new(Mutex::new(Some(Sent(sent, Some(tell)))));
    let router = Router::new()
        .get("/events", move |ctx: Context, _: Request| {
            let events = events.lock().unwrap().take().unwrap();
            async move { Sse::new(&ctx, events) }
        })
        .get("/endless", |ctx: Context, _: Request| async move {
            Sse::new(&ctx, stream::repeat(Event::new("again")))
        });
    Streaming { router, send, dropped }
}

/// Reads until `text` has come.
async fn until(client: &mut Client, text: &str) -> String {
    soon(async {
        let mut read = Vec::new();
        while !read.ends_with(text.as_bytes()) {
            read.push(client.0.read_u8().await.unwrap());
        }
        String::from_utf8(read).unwrap()
    })
    .await
}

async fn begin(server: &Fixture, path: &str) -> Client {
    let mut client = server.client().await;
    client.send(&get(path)).await;
    client
}

#[tokio::test]
async fn events_are_sent_as_they_come_and_the_answer_ends_with_them() {
    let Streaming { router, send, .. } = streaming();
    let server = Fixture::start(router).await;
    let mut client = begin(&server, "/events").await;
    let head = until(&mut client, "\r\n\r\n").await;
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("cache-control: no-cache\r\n"), "{head}");
    for data in ["one", "two"] {
        send.send(Event::new(data)).unwrap();
        until(&mut client, &format!("data: {data}\n\n\r\n")).await;
    }
    drop(send);
    assert_eq!(until(&mut client, WHOLE).await, WHOLE);
    server.quiet().await;
}

#[tokio::test]
async fn a_drain_ends_them_whole_and_is_not_held() {
    let Streaming { router, send, .. } = streaming();
    let (see, mut seen) = mpsc::unbounded_channel();
    let routes = router.limits(RouteLimits::new().no_timeout());
    let server = Fixture::with(routes, |server| server.observer(Seen(see))).await;
    let mut silent = begin(&server, "/events").await;
    send.send(Event::new("one")).unwrap();
    until(&mut silent, "data: one\n\n\r\n").await;
    let mut endless = begin(&server, "/endless").await;
    until(&mut endless, "data: again\n\n\r\n").await;
    // It reads on, or it would hold the drain by that.
    let reads = tokio::spawn(async move { endless.rest().await });

    let plan = DrainPlan::default().without_lame_duck();
    let report = soon(server.running.drain(plan)).await;
    assert!(report.is_clean() && report.took < plan.finish, "{report}");
    assert_eq!((report.finished, report.cancelled), (2, 0), "{report}");
    assert_eq!(silent.rest().await, WHOLE.as_bytes());
    assert!(reads.await.unwrap().ends_with(format!("\n\n\r\n{WHOLE}").as_bytes()));
    for _ in 0..2 {
        assert_eq!(soon(seen.recv()).await, Some((200, Ending::Answered)));
    }
}

#[tokio::test]
async fn a_context_of_their_own_ends_them_too() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, _: Request| {
        let (ctx, canceller) = ctx.child();
        tell.send(canceller).unwrap();
        async move { Sse::new(&ctx, stream::pending()).keep_alive(Duration::MAX) }
    });
    let server = Fixture::start(router).await;
    let mut client = begin(&server, "/").await;
    until(&mut client, "\r\n\r\n").await;
    soon(told.recv()).await.unwrap().drain(600 * SECOND);
    assert_eq!(until(&mut client, WHOLE).await, WHOLE);
}

#[tokio::test]
async fn a_deadline_ends_them_whole_too() {
    let clock = StillClock::stop();
    let Streaming { router, send, .. } = streaming();
    let server = Fixture::with(router, |server| server.timeout(5 * SECOND)).await;
    let mut client = begin(&server, "/events").await;
    send.send(Event::new("one")).unwrap();
    until(&mut client, "data: one\n\n\r\n").await;
    clock.advance(6 * SECOND).await;
    assert_eq!(until(&mut client, WHOLE).await, WHOLE);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let clock = StillClock::stop();
    let Streaming { router, send, .. } = streaming();
    let server = Fixture::with(router, |server| server.timeout(600 * SECOND)).await;
    let mut client = begin(&server, "/events").await;
    until(&mut client, "\r\n\r\n").await;
    clock.advance(10 * SECOND).await;
    send.send(Event::new("one")).unwrap();
    until(&mut client, "data: one\n\n\r\n").await;
    // The silence counts from what was sent last: no comment has come in between.
    clock.advance(14 * SECOND).await;
    send.send(Event::new("two")).unwrap();
    assert!(!until(&mut client, "data: two\n\n\r\n").await.contains("\n: "));
    for _ in 0..2 {
        clock.advance(16 * SECOND).await;
        assert_eq!(until(&mut client, "\n\n\r\n").await, "4\r\n: \n\n\r\n");
    }
}

#[tokio::test]
async fn the_interval_of_comments_is_its_makers_choice() {
    let clock = StillClock::stop();
    let silent = |interval| {
        move |ctx: Context, _: Request| async move {
            Sse::new(&ctx, stream::pending()).keep_alive(interval)
        }
    };
    let router = Router::new().get("/two", silent(2 * SECOND)).get("/never", silent(Duration::MAX));
    let server = Fixture::with(router, |server| server.timeout(600 * SECOND)).await;
    let mut two = begin(&server, "/two").await;
    until(&mut two, "\r\n\r\n").await;
    let mut never = begin(&server, "/never").await;
    until(&mut never, "\r\n\r\n").await;
    clock.advance(3 * SECOND).await;
    until(&mut two, ": \n\n\r\n").await;
    clock.advance(500 * SECOND).await;
    clock.advance(200 * SECOND).await;
    assert_eq!(until(&mut never, WHOLE).await, WHOLE, "the deadline, and nothing before it");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream() {
    let Streaming { router, send, mut dropped } = streaming();
    let server = Fixture::start(router).await;
    let mut client = begin(&server, "/events").await;
    send.send(Event::new("one")).unwrap();
    until(&mut client, "data: one\n\n\r\n").await;
    drop(client);
    soon(dropped.recv()).await;
    assert!(send.is_closed());
    server.quiet().await;
}

#[tokio::test]
async fn a_client_that_comes_back_says_what_it_has_seen() {
    let router = Router::new()
        .get("/", |_: Context, req: Request| async move { format!("{:?}", req.last_event_id()) });
    let server = Fixture::start(router).await;
    for (header, id) in [
        ("last-event-id: 17\r\n", r#"Some("17")"#),
        ("last-event-id: ü\r\n", r#"Some("ü")"#),
        ("last-event-id:\r\n", "None"),
        ("", "None"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: t\r\n{header}\r\n");
        assert_eq!(server.request(&request).await.body, id, "{header}");
    }
}
