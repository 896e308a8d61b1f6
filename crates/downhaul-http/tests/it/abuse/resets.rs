//! Streams that are begun to be reset.

use super::{STREAMS, Siege};
use crate::frames::{self, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, NO_ERROR, Peer, Reply};
use crate::support::NEVER;

/// The id of the nth stream.
fn nth(n: u32) -> u32 {
    2 * n + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_ones_end_the_connection() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    let pair = |n| [frames::get(nth(n), "/deaf"), frames::reset(nth(n))].concat();
    peer.flood(20_000, pair).await;
    assert_eq!(peer.goaway().await, Some(ENHANCE_YOUR_CALM));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_ones_run_no_more_handlers_than_there_may_be_streams() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    for n in 0..1_000 {
        peer.send(&frames::get(nth(n), "/deaf")).await;
        assert!(peer.ping().await.is_some());
        peer.send(&frames::reset(nth(n))).await;
    }
    assert!(peer.ping().await.is_some());
    assert!(siege.crowd.begun() > 0);
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_beside_too_many_that_run_on_is_a_503() {
    let siege = Siege::with(|server| server.cancel_grace(NEVER)).await;
    let mut peer = Peer::connect(&siege.server).await;
    for n in 0..STREAMS as u32 {
        peer.send(&frames::get(nth(n), "/deaf")).await;
        while siege.crowd.begun() <= n as usize {
            assert!(peer.ping().await.is_some());
        }
        peer.send(&frames::reset(nth(n))).await;
    }
    let next = nth(STREAMS as u32);
    peer.send(&frames::get(next, "/fast")).await;
    assert_eq!(peer.reply(next).await, Reply::Status(503));
    // On a connection of its own it is answered.
    let mut other = Peer::connect(&siege.server).await;
    other.send(&frames::get(1, "/fast")).await;
    assert_eq!(other.reply(1).await, Reply::Status(200));
}

/// A request, and more than its window can be: an error of the stream, which the server has to
/// reset.
fn overflow(n: u32) -> Vec<u8> {
    [frames::get(nth(n), "/deaf"), frames::window_update(nth(n), u32::MAX >> 1)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_makes_the_server_reset_ends_its_connection() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&overflow(0)).await;
    assert_eq!(peer.reply(1).await, Reply::Reset(FLOW_CONTROL_ERROR));
    peer.flood(20_000, |n| overflow(n + 1)).await;
    assert_eq!(peer.goaway().await, Some(ENHANCE_YOUR_CALM));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_makes_the_server_reset_slowly_does_so_no_more_than_a_hundred_times() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    let mut resets = 0;
    while resets < 1_000 {
        peer.send(&overflow(resets)).await;
        if peer.ping().await.is_none() {
            break;
        }
        resets += 1;
    }
    assert_eq!(resets, 100);
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_after_the_end_of_a_request_ends_the_connection_too() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    let late = |n| {
        [frames::get(nth(n), "/deaf"), frames::frame(frames::DATA, 0, nth(n), b"late")].concat()
    };
    peer.flood(20_000, late).await;
    let code = peer.goaway().await;
    assert!(code.is_some_and(|code| code != NO_ERROR), "{code:?}");
    siege.end().await;
}
