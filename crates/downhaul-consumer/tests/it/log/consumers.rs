//! Consumers whose partitions move.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, ConsumerHandle, Failure, Incoming, MemoryLog, Message, RetryPolicy, State,
    Subscription,
};
use downhaul_context::{CauseKind, Context};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::{deliveries, publish, publish_numbers, until};

const SECOND: Duration = Duration::from_secs(1);

fn group() -> Subscription {
    Subscription::new("q").topic("t")
}

async fn spawn(log: &MemoryLog, ctx: &Context, consumer: Consumer) -> ConsumerHandle {
    let handle = consumer.spawn(ctx, Arc::new(log.clone()));
    assert_eq!(handle.settled().await, State::Running);
    handle
}

fn stop(handle: &ConsumerHandle) -> impl Future<Output = State> {
    handle.stop();
    handle.settled()
}

/// A consumer that tells whose it is and what it got, and waits to be let through.
fn gated(
    name: &'static str,
    seen: &mpsc::UnboundedSender<(&'static str, String)>,
    open: &Arc<Semaphore>,
) -> Consumer {
    let (seen, open) = (seen.clone(), Arc::clone(open));
    let wait = move |ctx: Context, message: Incoming<Message>| {
        let (seen, open) = (seen.clone(), Arc::clone(&open));
        async move {
            seen.send((name, message.id().to_owned()))?;
            ctx.run(open.acquire()).await??.forget();
            Ok::<(), Failure>(())
        }
    };
    Consumer::new(group(), wait).named(name)
}

#[tokio::test(start_paused = true)]
async fn a_rebalance_waits_for_what_is_begun_and_nothing_is_handled_twice() {
    let (log, (ctx, _canceller)) = (MemoryLog::new(4), Context::root());
    let (tell, mut seen) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let first = spawn(&log, &ctx, gated("first", &tell, &open).concurrency(4)).await;
    // Four are begun, four wait at the consumer, and twelve in the log.
    publish_numbers(&log, 20).await;
    until(|| first.in_flight().len() == 4 && first.buffered() == 4).await;
    let second = spawn(&log, &ctx, gated("second", &tell, &open).concurrency(4)).await;
    until(|| first.tally().released == 2).await;
    assert!(second.in_flight().is_empty(), "what is begun holds its partition");
    // What stays is read on meanwhile.
    until(|| first.buffered() == 4).await;
    let (asked, mut handled) = (Instant::now(), BTreeMap::new());
    open.add_permits(20);
    while handled.len() < 20 {
        until(|| !seen.is_empty()).await;
        let (who, id) = seen.recv().await.unwrap();
        assert_eq!(handled.insert(id.clone(), who), None, "{id} was handled twice");
    }
    until(|| log.lag("q") == 0).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waited for the budget");
    assert_eq!((first.tally().lost, second.tally().lost), (0, 0));
    // Of two partitions, the one had begun a message each, and the other did the rest.
    let of = |name| handled.values().filter(|who| **who == name).count();
    assert_eq!((of("first"), of("second")), (12, 8));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_outlasts_the_revoke_budget_is_cancelled_and_its_verdict_is_lost() {
    let (log, (ctx, _canceller)) = (MemoryLog::new(2), Context::root());
    let (told, mut ends) = mpsc::unbounded_channel();
    let hang = move |ctx: Context, message: Incoming<Message>| {
        let told = told.clone();
        async move {
            let cause = ctx.done().await;
            let _ = told.send((message.id().to_owned(), cause.kind(), cause.to_string()));
        }
    };
    let hang = Consumer::new(group(), hang).handler_timeout(3_600 * SECOND);
    let first = spawn(&log, &ctx, hang).await;
    publish_numbers(&log, 2).await;
    until(|| first.in_flight().len() == 2).await;
    let (tell, mut seen) = mpsc::unbounded_channel();
    let (begun, open) = (Instant::now(), Arc::new(Semaphore::new(10)));
    let second = spawn(&log, &ctx, gated("second", &tell, &open)).await;
    let (id, kind, cause) = ends.recv().await.unwrap();
    assert_eq!((kind, begun.elapsed()), (CauseKind::Cancelled, 5 * SECOND));
    assert!(cause.contains("the lane went to another consumer"), "{cause}");
    assert_eq!(seen.recv().await.unwrap(), ("second", id));
    until(|| second.tally().acked == 1 && first.tally().lost == 1).await;
    // The handler returned as if all were well, and nothing of that was committed.
    assert_eq!((first.tally().acked, log.lag("q")), (0, 1));
    assert_eq!(first.in_flight().len(), 1, "what stays is not cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_while_its_partition_is_to_go_is_left_to_the_next_owner() {
    let (log, (ctx, _canceller)) = (MemoryLog::new(2), Context::root());
    log.create_topic("t");
    let (tell, mut seen) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let patient = RetryPolicy::default().backoff(60 * SECOND, 60 * SECOND);
    let consumer = |name| {
        let (tell, open) = (tell.clone(), Arc::clone(&open));
        let fail_at_first = move |_ctx: Context, message: Incoming<Message>| {
            let (tell, open) = (tell.clone(), Arc::clone(&open));
            async move {
                let key = message.key().unwrap().to_owned();
                tell.send((name, key, message.id().to_owned()))?;
                open.acquire().await?.forget();
                if name == "first" && message.id() == "one" {
                    return Err(Failure::from(std::io::Error::other("not yet")));
                }
                Ok(())
            }
        };
        Consumer::new(group(), fail_at_first).named(name).ordered().retry(patient.clone())
    };
    let first = spawn(&log, &ctx, consumer("first")).await;
    let keys: Vec<String> = (0..2).map(|partition| key_of(&log, partition)).collect();
    for key in &keys {
        publish(&log, Message::new("").with_key(key).with_id("one")).await;
        seen.recv().await.unwrap();
    }
    let second = spawn(&log, &ctx, consumer("second")).await;
    let asked = Instant::now();
    open.add_permits(2);
    let (who, moved, id) = seen.recv().await.unwrap();
    assert_eq!((who, &*id, asked.elapsed()), ("second", "one", Duration::ZERO));
    open.add_permits(1);
    until(|| second.tally().acked == 1).await;
    // And when the partition comes back, its key is free.
    stop(&second).await;
    publish(&log, Message::new("").with_key(&moved).with_id("two")).await;
    let (who, key, id) = seen.recv().await.unwrap();
    assert_eq!((who, &*key, &*id), ("first", &*moved, "two"));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!((first.tally().lost, first.tally().released), (0, 1));
}

/// A key of messages in this partition.
fn key_of(log: &MemoryLog, partition: usize) -> String {
    let mut keys = (0..).map(|number| format!("key-{number}"));
    keys.find(|key| log.partition_of(key) == partition).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_that_becomes_a_dead_letter_does_not_stall_its_partition() {
    let (log, (ctx, _canceller)) = (MemoryLog::new(1), Context::root());
    let (tell, mut seen) = mpsc::unbounded_channel();
    let refuse = move |_ctx: Context, message: Incoming<Message>| {
        let told = tell.send(message.id().to_owned());
        async move {
            told?;
            if message.id() == "1" { Err(Failure::permanent("poison")) } else { Ok(()) }
        }
    };
    let consumer = spawn(&log, &ctx, Consumer::new(group(), refuse).concurrency(1)).await;
    publish_numbers(&log, 4).await;
    for id in ["0", "1", "2", "3"] {
        assert_eq!(seen.recv().await.unwrap(), id);
    }
    until(|| log.committed("q", "t", 0) == 4).await;
    assert_eq!((consumer.tally().dead_lettered, log.lag("q.dead")), (1, 1));
    let dead = Subscription::new("q.dead");
    let mut dead = log.source(&ctx, &dead).await.unwrap();
    let letters = deliveries(&mut *dead);
    assert_eq!(super::ids(&letters), ["1"]);
    drop(dead);
    stop(&consumer).await;
}
