//! What a relay logs of what is away: once when it goes, and once when it is back.

use std::sync::atomic::Ordering;

use downhaul_consumer::StoreErrorKind;
use downhaul_testkit::capture::Capture;
use tokio::time::sleep;
use tracing::Level;

use super::puppet::{Puppet, Say};
use super::seen::{Away, away, until};
use super::*;

/// What this thread logs of outboxes, from INFO on.
fn listen() -> Capture {
    Capture::start(|line| line.target().contains("::outbox::") && *line.level() <= Level::INFO)
}

/// Whether there are these lines and no others, each with its words in it.
fn assert_said(lines: &Capture, words: &[&[&str]]) {
    let all: Vec<_> = lines.lines().into_iter().map(|line| line.text).collect();
    let fits = |(line, words): (&String, &&[&str])| words.iter().all(|word| line.contains(word));
    assert!(all.len() == words.len() && all.iter().zip(words).all(fits), "{all:#?}");
}

#[tokio::test(start_paused = true)]
async fn that_nothing_gets_through_is_said_once_and_so_is_that_it_does_again() {
    let lines = listen();
    let (mut shop, broker) = (Shop::open().await, away().await);
    shop.enqueue_many(&["a", ""], 20);
    let relay = shop.relay(broker.clone());
    let (handle, running) = (relay.handle(), Running::start(relay));
    sleep(3600 * SECOND).await; // tidy: on the paused clock
    let gone: &[&str] = &[
        "WARN message=nothing of the outbox gets through to the broker, trying again",
        " silent_ms=10000 waiting=40 oldest_ms=",
        " error=\"the message was not sent: the memory broker is set to be unreachable\"",
    ];
    assert_said(&lines, &[gone]);
    broker.set_reachable(true);
    until(&handle, |seen| seen.published == 40).await;
    running.drain().await;
    let back: &[&str] = &["INFO message=the outbox gets through again after_ms=36"];
    assert_said(&lines, &[gone, back]);
}

#[tokio::test(start_paused = true)]
async fn that_what_did_not_get_through_is_gone_is_said_as_well() {
    let lines = listen();
    let (mut shop, broker) = (Shop::open().await, away().await);
    shop.enqueue(&[("id", "")]);
    let relay = shop.relay(broker.clone());
    let (handle, running) = (relay.handle(), Running::start(relay));
    // Gone while it is in hand: what lands afterwards is no new stall.
    until(&handle, |seen| seen.stall.is_some() && seen.in_hand == 1).await;
    shop.db.execute("DELETE FROM downhaul_outbox", ()).unwrap();
    until(&handle, |seen| seen.stall.is_none()).await;
    running.drain().await;
    let left = "INFO message=nothing is left in the outbox that did not get through after_ms=";
    assert_said(&lines, &[&["WARN"], &[left]]);
}

#[tokio::test(start_paused = true)]
async fn that_an_outbox_is_away_is_said_once_and_so_is_that_it_answers_again() {
    let lines = listen();
    let shop = Shop::open().await;
    let store = Away::new(&shop, StoreErrorKind::Failed);
    let relay = Relay::new(store.clone(), Publisher::new(Puppet::new(|_, _| Say::Yes)));
    let (handle, running) = (relay.handle(), Running::start(relay));
    sleep(3600 * SECOND).await; // tidy: on the paused clock
    let gone: &[&str] =
        &["WARN message=the outbox cannot be reached, trying again error=\"no disk\""];
    assert_said(&lines, &[gone]);
    store.is_away.store(false, Ordering::SeqCst);
    until(&handle, |seen| seen.reached).await;
    running.drain().await;
    assert_said(&lines, &[gone, &["INFO message=the outbox answers again after_ms=36"]]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_of_which_nothing_is_away_says_nothing() {
    let lines = listen();
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a", ""], 20);
    let running = Running::start(shop.relay(Puppet::new(|_, _| Say::Later(SECOND))));
    shop.until((0, 0, 0)).await;
    running.drain().await;
    assert_said(&lines, &[]);
}
