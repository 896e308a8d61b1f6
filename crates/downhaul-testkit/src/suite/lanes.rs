//! What only logs do: partitions move between consumers, and the past can be read.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Consumer, Delivery, Event, Incoming, Message, Revoking, Verdict};
use downhaul_context::Context;
use tokio::sync::Semaphore;

use super::fixture::next;
use super::{Fixture, Harness, Seen};

const KEYS: usize = 32;
/// How many of them have a slow message, and one behind it.
const SLOW: usize = 8;
/// By when who has lanes has been asked for them, as a rule. Nothing is decided by it.
const ASKED: Duration = Duration::from_secs(5);

/// Publishes a message to each of many keys, so that each lane gets some.
async fn publish_wave<H: Harness>(fixture: &Fixture<H>, wave: usize) {
    for key in 0..KEYS {
        fixture.publish_keyed("q", key, format!("{wave}/{key}")).await;
    }
}

/// Makes consumers of the queue that record each message. Those whose ids `waits` for are finished
/// only when the gate is open.
fn gated<H: Harness>(
    fixture: &Fixture<H>,
    seen: &Seen,
    gate: &Arc<Semaphore>,
    waits: fn(&str) -> bool,
) -> impl Fn() -> Consumer + use<H> {
    let (subscription, recorder, gate) =
        (fixture.subscription("q"), seen.recorder(), Arc::clone(gate));
    move || {
        let (record, gate) = (recorder.clone(), Arc::clone(&gate));
        let handle = move |_ctx: Context, message: Incoming<Message>| {
            record(&message);
            let closed = waits(message.id()).then(|| Arc::clone(&gate));
            async move {
                if let Some(gate) = closed {
                    drop(gate.acquire().await.unwrap());
                }
            }
        };
        Consumer::new(subscription.clone(), handle).concurrency(64)
    }
}

/// Who gets a lane gets none of what was begun by who had it, and nothing is handled twice.
pub async fn a_lane_that_moves_is_finished_first<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("lanes", fixture.capabilities().lanes) {
        return;
    }
    let (mut seen, open) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let consumer = gated(&fixture, &seen, &open, |_| true);
    let first = fixture.spawn(consumer()).await;
    publish_wave(&fixture, 0).await;
    let mut ids = seen.take(KEYS).await;
    // All of it is begun. Now some lanes are to go to another, which may have to wait for them
    // before it is let in.
    let second = consumer().spawn(&fixture.ctx, fixture.broker());
    let _ = tokio::time::timeout(ASKED, second.settled()).await;
    open.add_permits(1);
    let mut waves = 1;
    // What is read again of a lane comes before what is published to it later.
    while second.tally().acked == 0 {
        publish_wave(&fixture, waves).await;
        waves += 1;
        ids.extend(seen.take(KEYS).await);
    }
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), different.len()), (waves * KEYS, waves * KEYS), "some came twice");
    assert_eq!((first.tally().lost, second.tally().lost), (0, 0));
}

/// Also not where messages before it stood in line behind a slow one: they are finished first.
pub async fn what_is_finished_of_a_lane_does_not_come_again_when_the_lane_moves<H: Harness>(
    fixture: Fixture<H>,
) {
    if fixture.skips("lanes", fixture.capabilities().lanes) {
        return;
    }
    let (mut seen, open) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let slow_wait = gated(&fixture, &seen, &open, |id| id.starts_with("slow"));
    let consumer = || slow_wait().ordered();
    let first = fixture.spawn(consumer()).await;
    for what in ["slow", "behind"] {
        for key in 0..SLOW {
            fixture.publish_keyed("q", key, format!("{what}/{key}")).await;
        }
    }
    for key in SLOW..KEYS {
        fixture.publish_keyed("q", key, format!("fast/{key}")).await;
    }
    let mut ids = seen.take(KEYS).await;
    let second = consumer().spawn(&fixture.ctx, fixture.broker());
    let _ = tokio::time::timeout(ASKED, second.settled()).await;
    open.add_permits(1);
    ids.extend(seen.take(SLOW).await);
    let mut waves = 0;
    while second.tally().acked == 0 {
        publish_wave(&fixture, waves).await;
        waves += 1;
        ids.extend(seen.take(KEYS).await);
    }
    let (published, different) = (KEYS + SLOW + waves * KEYS, ids.iter().collect::<BTreeSet<_>>());
    assert_eq!((ids.len(), different.len()), (published, published), "some came twice");
    assert_eq!((first.tally().lost, second.tally().lost), (0, 0));
}

/// Neither what is published to it meanwhile nor what is given back of it: that is for those who
/// get it.
pub async fn a_lane_that_is_to_go_delivers_nothing_more<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("lanes", fixture.capabilities().lanes) {
        return;
    }
    let subscription = fixture.subscription("q").with_prefetch(1_000);
    let open = async || fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    let mut first = open().await;
    publish_wave(&fixture, 0).await;
    let mut begun = Vec::new();
    while begun.len() < KEYS {
        begun.extend(next(&mut *first).await);
    }
    let revoked = async {
        let mut events = Vec::new();
        loop {
            first.next(&mut events).await.unwrap();
            // Of lanes with work; there may be others.
            let has_work = |revoking: &Revoking| {
                begun.iter().any(|delivery: &Delivery| revoking.lanes().contains(&delivery.lane))
            };
            let revoking = |event| match event {
                Event::Revoking(revoking) => Some(revoking).filter(has_work),
                _ => None,
            };
            if let Some(revoking) = events.drain(..).find_map(revoking) {
                return revoking;
            }
        }
    };
    // Who comes may have to wait for the lanes before it is let in.
    let (broker, ctx, another) = (fixture.broker(), fixture.ctx.clone(), subscription.clone());
    let second = tokio::spawn(async move { broker.source(&ctx, &another).await.unwrap() });
    let revoking = revoked.await;
    let leaves = |delivery: &&Delivery| revoking.lanes().contains(&delivery.lane);
    let released: Vec<_> =
        begun.iter().filter(leaves).map(|delivery| (delivery.token, Verdict::Release)).collect();
    first.settle(&released).await.unwrap();
    publish_wave(&fixture, 1).await;
    let mut staying = KEYS - released.len();
    while staying > 0 {
        for delivery in next(&mut *first).await {
            assert!(!leaves(&&delivery), "{} of a lane that is to go", delivery.message.id());
            staying -= 1;
        }
    }
    drop(revoking);
    // Both waves of the lanes, for whoever has them now.
    let mut moved = 2 * released.len();
    let mut second = pin!(second);
    let mut source = None;
    while moved > 0 {
        let arrived = match &mut source {
            None => tokio::select! {
                opened = &mut second => {
                    source = Some(opened.unwrap());
                    continue;
                }
                arrived = next(&mut *first) => arrived,
            },
            Some(source) => tokio::select! {
                arrived = next(&mut **source) => arrived,
                arrived = next(&mut *first) => arrived,
            },
        };
        moved -= arrived.len();
    }
}

/// From the beginning.
pub async fn a_queue_that_is_made_later_gets_what_was_published_before<H: Harness>(
    fixture: Fixture<H>,
) {
    if fixture.skips("replay", fixture.capabilities().replay) {
        return;
    }
    let spawn = async |queue: &str| {
        let seen = Seen::default();
        let subscription = fixture.subscription(queue).topic(fixture.name("shared"));
        (fixture.spawn(seen.recording(subscription).ordered()).await, seen)
    };
    let (_early, mut seen_early) = spawn("early").await;
    for key in 0..9 {
        fixture.publish_keyed("shared", key, key).await;
    }
    let all: Vec<_> = (0..9).map(|number| number.to_string()).collect();
    assert_eq!(seen_early.take_sorted(9).await, all);
    let (_late, mut seen_late) = spawn("late").await;
    assert_eq!(seen_late.take_sorted(9).await, all);
    // What the early one got again would come before these.
    for key in 0..9 {
        fixture.publish_keyed("shared", key, format!("again {key}")).await;
    }
    assert!(seen_early.take(9).await.iter().all(|id| id.starts_with("again")));
}
