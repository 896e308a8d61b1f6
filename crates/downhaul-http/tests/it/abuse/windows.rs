//! Clients that ask and do not take.

use std::sync::Mutex;
use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::observe::Ending;
use downhaul_http::{DrainPlan, Request, Router, Server};
use tokio::sync::mpsc;

use super::{STREAMS, Siege};
use crate::frames::{
    self, CANCEL, DATA, FLOW_CONTROL_ERROR, INITIAL_WINDOW_SIZE, Peer, RST_STREAM, Reply,
};
use crate::support::{Fixture, NEVER, Pieces, Seen, StillClock, soon, streamed};

/// Soon over, and yet enough for a busy machine to begin an answer.
const BRIEF: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_opens_is_cut_at_the_deadline() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let siege = Siege::with(|server| server.timeout(BRIEF).observer(Seen(see))).await;
    let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.send(&frames::get(1, "/large")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    assert_eq!(soon(cut_while_others_are_answered(&mut peer)).await, CANCEL);
    assert_eq!(soon(cut(&mut seen)).await, (200, Ending::Deadline));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_opens_is_cut_at_the_write_limit_too() {
    for path in ["/large", "/fast"] {
        let (see, mut seen) = mpsc::unbounded_channel();
        let set =
            |server: Server| server.timeout(Duration::MAX).write_timeout(BRIEF).observer(Seen(see));
        let siege = Siege::with(set).await;
        let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        peer.send(&frames::get(1, path)).await;
        assert_eq!(peer.reply(1).await, Reply::Status(200));
        assert_eq!(soon(cut_while_others_are_answered(&mut peer)).await, CANCEL);
        assert_eq!(soon(cut(&mut seen)).await, (499, Ending::ClientStuck));
        siege.end().await;
    }
}

/// What it does not read takes no more than a part of the room that all bodies have.
#[tokio::test]
async fn a_handler_that_reads_nothing_does_not_hold_up_the_other_bodies() {
    let router = Router::new()
        .post("/deaf", async |_: Context, _: Request| std::future::pending::<()>().await)
        .post("/", async |_: Context, mut req: Request| {
            req.bytes().await.unwrap().len().to_string()
        });
    let server = Fixture::start(router).await;
    let mut peer = Peer::connect(&server).await;
    let settings = peer.next_of(frames::SETTINGS).await.unwrap();
    let window = settings.setting(INITIAL_WINDOW_SIZE).unwrap() as usize;
    let more = peer.next_of(frames::WINDOW_UPDATE).await.unwrap();
    assert!(more.stream == 0 && more.word(0) as usize + 65_535 >= 4 * window, "{more:?}");
    peer.send(&frames::post(1, "/deaf")).await;
    for piece in vec![0; window].chunks(16_384) {
        peer.send(&frames::frame(DATA, 0, 1, piece)).await;
    }
    peer.send(&frames::post(3, "/")).await;
    peer.send(&frames::frame(DATA, frames::END_STREAM, 3, &[0; 1_000])).await;
    assert_eq!(peer.reply(3).await, Reply::Status(200));
}

#[tokio::test]
async fn one_that_opens_in_time_has_the_write_limit_for_each_piece() {
    let (clock, second) = (StillClock::stop(), Duration::from_secs(1));
    let (send, pieces) = mpsc::unbounded_channel();
    let pieces = Mutex::new(Some(pieces));
    let router = Router::new().get("/", move |_: Context, _: Request| {
        let pieces = pieces.lock().unwrap().take().unwrap();
        async { streamed(Pieces::Sent(pieces)) }
    });
    let set = |server: Server| server.timeout(Duration::MAX).write_timeout(10 * second);
    let server = Fixture::with(router, set).await;
    let mut peer = Peer::with(&server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.send(&frames::get(1, "/")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    for _ in 0..3 {
        // Nothing is there to be taken.
        clock.advance(20 * second).await;
        send.send("piece").unwrap();
        assert!(peer.ping().await.is_some());
        clock.advance(9 * second).await;
        peer.send(&frames::window_update(1, 5)).await;
        assert_eq!(peer.next_of(DATA).await.unwrap().payload, b"piece");
    }
    drop(send);
    assert_eq!(peer.body(1).await.unwrap(), b"");
}

/// How the first request ended that was not answered.
async fn cut(seen: &mut mpsc::UnboundedReceiver<(u16, Ending)>) -> (u16, Ending) {
    loop {
        let (status, ending) = seen.recv().await.unwrap();
        if ending != Ending::Answered {
            return (status, ending);
        }
    }
}

/// The error that the first stream is reset with, while others have their windows.
async fn cut_while_others_are_answered(peer: &mut Peer) -> u32 {
    for stream in (3..).step_by(2) {
        let windows = [0, stream].map(|id| frames::window_update(id, 1 << 10)).concat();
        peer.send(&[frames::get(stream, "/fast"), windows].concat()).await;
        match peer.next_reply().await {
            (1, Reply::Reset(code)) => return code,
            (_, reply) => assert_eq!(reply, Reply::Status(200)),
        }
    }
    unreachable!("the server has closed before")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_opens_is_cut_when_a_drain_cancels() {
    let siege = Siege::begin().await;
    let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.send(&frames::get(1, "/large")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    siege.over.send_replace(true);
    let plan = DrainPlan::default().without_lame_duck().finish(BRIEF).cancel_grace(NEVER);
    let drain = soon(siege.server.running.drain(plan));
    let (report, reply) = tokio::join!(drain, peer.reply(1));
    assert_eq!(reply, Reply::Reset(CANCEL));
    assert!(report.cancelled == 1 && report.forced.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_place_of_a_late_one_waits_for_its_window_as_long_as_a_handler_may_go_on() {
    let set = |grace| move |server: Server| server.timeout(BRIEF).cancel_grace(grace);
    let siege = Siege::with(set(NEVER)).await;
    let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.send(&frames::get(1, "/held")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(504));
    assert!(peer.ping().await.is_some());
    peer.send(&frames::window_update(1, 1 << 10)).await;
    assert!(!peer.body(1).await.unwrap().is_empty());
    siege.end().await;

    let siege = Siege::with(set(BRIEF)).await;
    let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.send(&frames::get(1, "/held")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(504));
    assert_eq!(peer.reply(1).await, Reply::Reset(CANCEL));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_opens_by_a_byte_at_a_time_is_waited_for() {
    let siege = Siege::begin().await;
    let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 1)]).await;
    peer.send(&frames::get(1, "/fast")).await;
    for byte in b"fast" {
        let piece = peer.next_of(DATA).await.unwrap();
        assert_eq!(piece.payload, [*byte]);
        peer.send(&frames::window_update(1, 1)).await;
    }
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_are_open_by_a_byte_do_not_hold_their_answers_beyond_the_deadline() {
    let siege = Siege::with(|server| server.timeout(BRIEF)).await;
    let mut peer = Peer::with(&siege.server, &[(INITIAL_WINDOW_SIZE, 1)]).await;
    let streams = STREAMS as u32;
    peer.flood(streams, |n| frames::get(2 * n + 1, "/large")).await;
    let (mut taken, mut resets) = (0, 0);
    while resets < STREAMS {
        let frame = peer.next().await.unwrap();
        match frame.kind {
            DATA => taken += frame.payload.len(),
            RST_STREAM => resets += 1,
            _ => {}
        }
    }
    // On a busy machine the deadline may be sooner than the first byte.
    assert!((1..=STREAMS).contains(&taken), "{taken} bytes");
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_one_piece_is_in_flight_until_it_is_taken() {
    let siege = Siege::with(|server| server.idle_timeout(BRIEF)).await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&frames::get(1, "/large")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    // The idle limit passes, as a client sees that has nothing to wait for.
    let mut idle = siege.server.client().await;
    assert!(idle.rest().await.is_empty());
    assert!(siege.server.running.in_flight() > 0);
    peer.send(&[0, 1].map(|id| frames::window_update(id, 1 << 20)).concat()).await;
    assert_eq!(peer.body(1).await.map(|body| body.len()), Ok(1 << 20));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_overflows_ends_the_connection() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&frames::window_update(0, u32::MAX >> 1)).await;
    assert_eq!(peer.goaway().await, Some(FLOW_CONTROL_ERROR));
    siege.end().await;
}
