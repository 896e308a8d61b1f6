//! Connections that begin as HTTP/2 and go no further.

use std::time::Duration;

use super::Siege;
use crate::frames::{self, NO_ERROR, PREFACE, Peer, Reply, SETTINGS};

/// Soon over, and yet enough for a busy machine to get to a request.
const SHORT: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_preface_is_closed_after_the_header_limit() {
    let siege = Siege::with(|server| server.header_timeout(SHORT)).await;
    let mut peer = Peer::silent(&siege.server).await;
    peer.send(&PREFACE[..PREFACE.len() / 2]).await;
    assert!(peer.next().await.is_none());
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_silent_after_the_preface_is_closed_after_the_idle_limit() {
    let siege = Siege::with(|server| server.idle_timeout(SHORT).header_timeout(SHORT)).await;
    for begun in [PREFACE.to_vec(), [PREFACE, &frames::settings(&[])].concat()] {
        let mut peer = Peer::silent(&siege.server).await;
        peer.send(&begun).await;
        while peer.next().await.is_some() {}
    }
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_talks_without_asking_is_closed_after_the_idle_limit() {
    let siege = Siege::with(|server| server.idle_timeout(SHORT).header_timeout(SHORT)).await;
    let mut peer = Peer::connect(&siege.server).await;
    while peer.ping().await.is_some() {}
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_wait_for_one_that_is_silent_after_the_preface() {
    let siege = Siege::begin().await;
    let mut peer = Peer::silent(&siege.server).await;
    peer.send(PREFACE).await;
    assert_eq!(peer.next().await.map(|frame| frame.kind), Some(SETTINGS));
    siege.end().await;
    assert!([None, Some(NO_ERROR)].contains(&peer.goaway().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_well_behaved_one_is_answered() {
    let siege = Siege::begin().await;
    let mut peer = Peer::connect(&siege.server).await;
    peer.send(&frames::get(1, "/fast")).await;
    assert_eq!(peer.reply(1).await, Reply::Status(200));
    assert_eq!(peer.body(1).await.unwrap(), b"fast");
    peer.send(&frames::get(3, "/nowhere")).await;
    assert_eq!(peer.reply(3).await, Reply::Status(404));
    siege.end().await;
}
