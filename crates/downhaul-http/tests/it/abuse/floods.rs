//! Frames that cost the client little and may cost the server much.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{STREAMS, Siege};
use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE,
    Peer, REFUSED_STREAM, Reply, frame,
};
use crate::support::soon;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_ends_the_connection() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&frame(HEADERS, END_STREAM, 1, &frames::head("GET", "/fast"))).await;
    peer.flood(20_000, |_| frame(CONTINUATION, 0, 1, &frames::field("more", "and more"))).await;
    assert_eq!(peer.goaway().await, Some(ENHANCE_YOUR_CALM));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_continuations_end_the_connection() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&frame(HEADERS, END_STREAM, 1, &frames::head("GET", "/fast"))).await;
    peer.flood(20_000, |_| frame(CONTINUATION, 0, 1, b"")).await;
    assert_eq!(peer.goaway().await, Some(ENHANCE_YOUR_CALM));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_again_and_again_are_borne() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    assert!(peer.flood(20_000, |_| frames::settings(&[])).await);
    peer.send(&frames::get(1, "/fast")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_again_and_again_are_borne() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    assert!(peer.flood(20_000, |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())).await);
    peer.send(&frames::get(1, "/fast")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_by_one_that_never_reads_are_taken_until_the_idle_limit() {
    let siege = Siege::with(|server| server.idle_timeout(Duration::from_millis(500))).await;
    let mut deaf = siege.server.client().await;
    deaf.send(std::str::from_utf8(PREFACE).unwrap()).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1_000);
    soon(async { while deaf.0.write_all(&pings).await.is_ok() {} }).await;
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_without_bytes_end_the_connection() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&frames::post(1, "/body")).await;
    peer.flood(20_000, |_| frame(DATA, 0, 1, b"")).await;
    assert_eq!(peer.goaway().await, Some(ENHANCE_YOUR_CALM));
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    let streams = STREAMS as u32;
    peer.flood(streams, |n| frames::get(2 * n + 1, "/deaf")).await;
    // Until the settings are acknowledged, the limit does not hold for the client.
    assert!(peer.ping().await.is_some());
    let beyond = 2 * streams + 1;
    peer.send(&frames::get(beyond, "/deaf")).await;
    assert_eq!(peer.reply(beyond).await, Reply::Reset(REFUSED_STREAM));
    peer.send(&frames::reset(1)).await;
    while siege.crowd.begun() < STREAMS {
        assert!(peer.ping().await.is_some());
    }
    peer.flood(streams, |n| frames::reset(2 * n + 1)).await;
    assert_eq!(siege.crowd.begun(), STREAMS);
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_over_the_limit_is_a_431() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    let long = frames::field("long", &"x".repeat(17 << 10));
    let long = [frames::head("GET", "/deaf"), long].concat();
    let (first, rest) = long.split_at(16 << 10);
    peer.send(&frame(HEADERS, END_STREAM, 1, first)).await;
    peer.send(&frame(CONTINUATION, END_HEADERS, 1, rest)).await;
    assert_eq!(peer.reply(1).await, Reply::Status(431));
    assert_eq!(siege.crowd.begun(), 0);
    peer.send(&frames::get(3, "/fast")).await;
    assert_eq!(peer.reply(3).await, Reply::Status(200));
    siege.end().await;
}
