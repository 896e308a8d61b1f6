//! When the link to the broker breaks.

use std::collections::BTreeSet;
use std::sync::Arc;

use downhaul_consumer::{Consumer, Incoming, Message, Outgoing};
use downhaul_context::Context;
use tokio::sync::Semaphore;

use super::fixture::until;
use super::{Fixture, Harness, Seen};

/// Every message whose publish was confirmed is handled, and again by the next link if it was not
/// settled by the last, across several cuts.
pub async fn a_lost_link_loses_no_message<H: Harness>(fixture: Fixture<H>) {
    const EACH: usize = 50;
    if fixture.skips("way to cut links", fixture.harness.capabilities().cut) {
        return;
    }
    let mut seen = Seen::default();
    let (record, open) = (seen.recorder(), Arc::new(Semaphore::new(0)));
    let gate = Arc::clone(&open);
    let wait = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let gate = Arc::clone(&gate);
        async move { gate.acquire().await.unwrap().forget() }
    };
    // Those that were begun by way of the last link still have their places.
    let consumer = Consumer::new(fixture.subscription("q"), wait).concurrency(500);
    let consumer = fixture.spawn(consumer).await;
    let mut confirmed: u64 = 0;
    for round in 0..3 {
        let mut held = BTreeSet::new();
        for number in 0..EACH {
            let id = format!("{round}/{number}");
            let message = Message::new("").with_id(&id);
            let outgoing = Outgoing::to_topic(fixture.name("q"), message);
            // An unknown one may or may not have come through: only what was confirmed must.
            if fixture.publisher.publish(&fixture.ctx, outgoing).await.is_ok() {
                held.insert(id);
            }
        }
        assert!(held.len() > EACH / 2, "too few were confirmed to prove anything");
        until_seen(&mut seen, held.clone()).await;
        fixture.harness.cut().await;
        confirmed += held.len() as u64;
        until_seen(&mut seen, held).await;
        open.add_permits(10 * EACH);
        until(&consumer, |tally| tally.acked >= confirmed).await;
        open.forget_permits(usize::MAX);
    }
}

async fn until_seen(seen: &mut Seen, mut missing: BTreeSet<String>) {
    while !missing.is_empty() {
        missing.remove(&seen.next().await.0);
    }
}

/// It does not reach the wire, and the message comes again.
pub async fn a_verdict_after_the_link_was_lost_is_counted_as_lost<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("way to cut links", fixture.harness.capabilities().cut) {
        return;
    }
    let mut seen = Seen::default();
    let (record, open) = (seen.recorder(), Arc::new(Semaphore::new(0)));
    let gate = Arc::clone(&open);
    let wait = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let gate = Arc::clone(&gate);
        async move { gate.acquire().await.unwrap().forget() }
    };
    let consumer = fixture.spawn(Consumer::new(fixture.subscription("q"), wait)).await;
    fixture.publish("q", "one").await;
    assert_eq!(seen.take(1).await, ["one"]);
    fixture.harness.cut().await;
    // The same message, by the new link, while the first handler still has it.
    assert_eq!(seen.take(1).await, ["one"]);
    open.add_permits(2);
    until(&consumer, |tally| tally.acked + tally.lost >= 2).await;
    // The first handler's verdict was lost. Its count as processed is made when it finishes.
    assert_eq!(consumer.tally().lost, 1);
}
