//! Requests over HTTP/2: each stream is one of its own, and ends as one of HTTP/1 does.

use std::time::Duration;

use downhaul_context::{CauseKind, Context};
use downhaul_http::{Error, Http2Limits, Request, Router, StatusCode};
use tokio::sync::mpsc;

use crate::frames::{
    self, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, HEADERS,
    INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, NO_ERROR, PROTOCOL_ERROR, Peer, REFUSED_STREAM,
    RST_STREAM, Reply, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::{Fixture, Pieces, Told, ended, held, soon, streamed};

/// Soon over, and yet enough for a busy machine to begin a request.
const BRIEF: Duration = Duration::from_millis(500);

/// `/upload` tells when it begins, reads its body, and tells why its context ends if that breaks.
fn upload() -> (Router, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    let router = Router::new().post("/upload", move |ctx: Context, mut req: Request| {
        let tell = tell.clone();
        async move {
            tell.send(Told::Begun).unwrap();
            let read = req.bytes().await;
            if read.as_ref().is_err_and(|error| error.status() == 400) {
                let _ = tell.send(Told::Ended(ctx.done().await));
            }
            read
        }
    });
    (router, told)
}

#[tokio::test]
async fn a_connection_has_the_streams_and_the_windows_that_its_server_was_given() {
    let limits = Http2Limits::new()
        .max_concurrent_streams(2)
        .stream_window(70_000)
        .connection_window(200_000);
    let (held, _told) = held();
    let server = Fixture::with(held.router(), |server| server.http2(limits)).await;
    let mut peer = Peer::connect(&server).await;
    let settings = peer.next_of(SETTINGS).await.unwrap();
    assert_eq!(settings.setting(MAX_CONCURRENT_STREAMS), Some(2));
    assert_eq!(settings.setting(INITIAL_WINDOW_SIZE), Some(70_000));
    // What there is from the start, and this, are the window of a connection (RFC 9113 §6.9.2).
    let more = peer.next_of(WINDOW_UPDATE).await.unwrap();
    assert_eq!((more.stream, more.word(0)), (0, 200_000 - 65_535));
    for stream in [1, 3, 5] {
        peer.send(&frames::get(stream, "/held")).await;
    }
    assert_eq!(peer.reply(5).await, Reply::Reset(REFUSED_STREAM));
}

#[tokio::test]
async fn a_connection_may_break_and_reset_as_many_streams_as_its_server_says() {
    let limits =
        Http2Limits::new().max_local_error_reset_streams(1).max_pending_accept_reset_streams(1);
    let (held, _told) = held();
    let server = Fixture::with(held.router(), |server| server.http2(limits)).await;
    let mut faulty = Peer::connect(&server).await;
    let overflow =
        |id| [frames::get(id, "/deaf"), frames::window_update(id, u32::MAX >> 1)].concat();
    faulty.send(&overflow(1)).await;
    assert_eq!(faulty.reply(1).await, Reply::Reset(FLOW_CONTROL_ERROR));
    faulty.send(&overflow(3)).await;
    assert_eq!(faulty.goaway().await, Some(ENHANCE_YOUR_CALM));
    let mut hasty = Peer::connect(&server).await;
    let reset = |id| [frames::get(id, "/deaf"), frames::reset(id)].concat();
    // In one piece, so that none is begun before it is reset.
    hasty.send(&[1, 3, 5].map(reset).concat()).await;
    assert_eq!(hasty.goaway().await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_panic_is_a_500_of_one_stream_and_the_others_live_on() {
    let (held, mut told) = held();
    let panics = Router::new().get("/panic", async |_: Context, _: Request| {
        if true {
            panic!("on purpose");
        }
    });
    let server = Fixture::start(Router::new().nest("", panics).nest("", held.router())).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[frames::get(1, "/held"), frames::get(3, "/panic")].concat()).await;
    assert_eq!(peer.reply(3).await, Reply::Status(500));
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    held.release.notify_one();
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    assert_eq!(peer.body(1).await.unwrap(), b"released");
}

#[tokio::test]
async fn a_connection_that_ends_cancels_all_of_its_requests() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[frames::get(1, "/held"), frames::get(3, "/held")].concat()).await;
    for _ in 0..2 {
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    }
    drop(peer);
    for _ in 0..2 {
        assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    }
    server.quiet().await;
}

#[tokio::test]
async fn a_reset_amid_a_body_cancels_its_request() {
    let (router, mut told) = upload();
    let server = Fixture::start(router).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[frames::post(1, "/upload"), frame(DATA, 0, 1, b"half")].concat()).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    peer.send(&frames::reset(1)).await;
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
    assert!(peer.ping().await.is_some());
}

#[tokio::test]
async fn a_body_whose_stream_is_reset_without_an_error_is_not_taken_for_whole() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().post("/", move |_: Context, mut req: Request| {
        let tell = tell.clone();
        async move {
            let read = req.bytes().await;
            let _ = tell.send(read.is_ok());
            read
        }
    });
    let server = Fixture::start(router).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[frames::post(1, "/"), frame(DATA, 0, 1, b"half")].concat()).await;
    peer.ping().await.unwrap();
    peer.send(&frame(RST_STREAM, 0, 1, &NO_ERROR.to_be_bytes())).await;
    assert_eq!(soon(told.recv()).await, Some(false));
}

#[tokio::test]
async fn a_body_that_stalls_is_a_408_and_the_connection_lives_on() {
    let (router, _told) = upload();
    let server = Fixture::with(router, |server| server.body_timeout(BRIEF)).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[frames::post(1, "/upload"), frame(DATA, 0, 1, b"half")].concat()).await;
    assert_eq!(peer.reply(1).await, Reply::Status(408));
    peer.send(&[frames::post(3, "/upload"), frame(DATA, END_STREAM, 3, b"whole")].concat()).await;
    assert_eq!(peer.reply(3).await, Reply::Status(200));
    assert_eq!(peer.body(3).await.unwrap(), b"whole");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_and_the_connection_lives_on() {
    let (router, _told) = upload();
    let server = Fixture::with(router, |server| server.body_limit(8)).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[frames::post(1, "/upload"), frame(DATA, 0, 1, b"nine bytes")].concat()).await;
    assert_eq!(peer.reply(1).await, Reply::Status(413));
    peer.send(&[frames::post(3, "/upload"), frame(DATA, END_STREAM, 3, b"whole")].concat()).await;
    assert_eq!(peer.reply(3).await, Reply::Status(200));
}

#[tokio::test]
async fn an_answer_that_is_not_done_at_the_deadline_is_reset_and_does_not_look_whole() {
    let (give, mut given) = mpsc::unbounded_channel();
    let router = Router::new().get("/stream", move |_: Context, _: Request| {
        let (send, pieces) = mpsc::unbounded_channel();
        give.send(send).unwrap();
        async { streamed(Pieces::Sent(pieces)) }
    });
    let server = Fixture::with(router, |server| server.timeout(BRIEF)).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&frames::get(1, "/stream")).await;
    let send = soon(given.recv()).await.unwrap();
    send.send("half").unwrap();
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    assert!(peer.body(1).await.is_err());
    server.quiet().await;
    assert!(peer.ping().await.is_some());
}

#[tokio::test]
async fn answers_that_have_no_body_have_none_whatever_the_service_gave_them() {
    let status = async |_: Context, req: Request| {
        let status = req.param::<u16>("status").unwrap();
        (StatusCode::from_u16(status).unwrap(), "a body")
    };
    let server = Fixture::start(Router::new().get("/{status}", status)).await;
    for (method, status) in [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304)] {
        let mut peer = Peer::connect(&server).await;
        peer.send(&request(method, &format!("/{status}"), &[])).await;
        let head = peer.next_of(HEADERS).await.unwrap();
        assert_ne!(head.flags & END_STREAM, 0, "{method} {status}");
    }
}

#[tokio::test]
async fn heads_are_looked_at_as_strictly_as_those_of_http1() {
    let server = Fixture::start(
        Router::new().get("/", async |_: Context, _: Request| Ok::<_, Error>("taken")),
    )
    .await;
    for (method, path, more, status) in [
        ("GET", "/", &[][..], 200),
        ("GET", "/", &[("host", "t")], 200),
        ("GET", "/", &[("host", "other")], 400),
        ("GET", "/", &[("host", "t"), ("host", "t")], 400),
        ("GET", "*", &[], 400),
        ("GET", "/", &[("expect", "tea")], 417),
    ] {
        let mut peer = Peer::connect(&server).await;
        peer.send(&request(method, path, more)).await;
        assert_eq!(peer.reply(1).await, Reply::Status(status), "{method} {path} {more:?}");
    }
}

#[tokio::test]
async fn heads_that_http2_forbids_reach_no_handler() {
    let server = Fixture::start(Router::new()).await;
    for (path, more) in [
        ("/", ("connection", "close")),
        ("/", ("transfer-encoding", "chunked")),
        ("/", ("Upper", "case")),
        ("/", (":path", "/other")),
        ("/", (":status", "200")),
        ("/", ("a", "b\r\nc: d")),
        ("", ("a", "b")),
    ] {
        let mut peer = Peer::connect(&server).await;
        peer.send(&request("GET", path, &[more])).await;
        assert_eq!(peer.objection().await, PROTOCOL_ERROR, "{path} {more:?}");
    }
}

#[tokio::test]
async fn an_authority_that_is_none_reaches_no_handler() {
    let server =
        Fixture::start(Router::new().get("/", async |_: Context, _: Request| "taken")).await;
    for (authority, reply) in [
        ("t:80", Reply::Status(200)),
        ("[::1]:80", Reply::Status(200)),
        ("u@t", Reply::Status(400)),
        ("a,b", Reply::Status(400)),
        (",[::1]:80", Reply::Status(400)),
        ("[zz]", Reply::Status(400)),
        ("t:65536", Reply::Status(400)),
        ("a b", Reply::Reset(PROTOCOL_ERROR)),
    ] {
        let mut peer = Peer::connect(&server).await;
        let pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
        let fields = pseudo.into_iter().chain([(":authority", authority)]);
        let block: Vec<_> = fields.flat_map(|(name, value)| frames::field(name, value)).collect();
        peer.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        assert_eq!(peer.reply(1).await, reply, "{authority}");
    }
}

/// A whole request on the first stream, with these headers besides.
fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let more = more.iter().flat_map(|(name, value)| frames::field(name, value));
    let block: Vec<_> = frames::head(method, path).into_iter().chain(more).collect();
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}
