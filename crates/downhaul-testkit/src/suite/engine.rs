//! What the engine makes of any broker: batches, duplicates, dead letters put back, settings that
//! change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Batches, Consumer, DeadLetters, Failure, Incoming, Message, Outgoing, RetryPolicy, Settlement,
    State,
};
use downhaul_context::Context;
use tokio::sync::{Semaphore, mpsc};

use super::fixture::until;
use super::{Fixture, Harness, Seen};

/// Whatever becomes of the others.
pub async fn each_message_of_a_batch_is_settled_by_itself<H: Harness>(fixture: Fixture<H>) {
    let (sender, mut batches) = mpsc::unbounded_channel();
    let judge = move |_ctx: Context, batch: Vec<Incoming<Message>>| {
        let _ = sender.send(batch.len());
        let judge = |message: &Incoming<Message>| match message.id() {
            "bad" => Err(Failure::permanent("no such product")),
            "late" if message.attempt() == 1 => Err(Failure::retry_after(Duration::ZERO, "again")),
            _ => Ok(()),
        };
        let results: Vec<_> = batch.iter().map(judge).collect();
        async move { results }
    };
    let gathered = Batches::of(4).within(Duration::from_millis(100));
    let consumer = Consumer::batches(fixture.subscription("q"), gathered, judge);
    let consumer = fixture.spawn(consumer.concurrency(1)).await;
    for id in ["one", "bad", "late", "two"] {
        fixture.publish("q", id).await;
    }
    let (letter, reason) = fixture.dead_letter("q").await;
    assert_eq!((letter.id(), reason.as_str()), ("bad", "no such product"));
    until(&consumer, |tally| tally.acked >= 3).await;
    let mut handled = 0;
    while let Ok(size) = batches.try_recv() {
        handled += size;
    }
    assert_eq!(handled, 5, "four, and one of them again");
}

/// By its id, also where it was published twice.
pub async fn a_duplicate_is_acknowledged_and_not_handled<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let record = seen.recorder();
    let fail_once = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let fails = message.attempt() == 1;
        let again = Settlement::Retry { after: Some(Duration::ZERO) };
        async move { if fails { again } else { Settlement::Ack } }
    };
    let consumer = Consumer::new(fixture.subscription("q"), fail_once);
    let consumer = fixture.spawn(consumer.dedupe(Arc::new(MemoryInbox::new()))).await;
    fixture.publish("q", "one").await;
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
    assert_eq!(seen.next().await, ("one".to_owned(), 2), "what failed is no duplicate");
    until(&consumer, |tally| tally.acked >= 1).await;
    fixture.publish("q", "one").await;
    until(&consumer, |tally| tally.duplicates >= 1).await;
    assert!(seen.is_empty());
}

/// And they are handled as if they were new.
pub async fn dead_letters_can_be_put_back<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let (record, heals) = (seen.recorder(), Arc::new(AtomicBool::new(false)));
    let healed = Arc::clone(&heals);
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let healed = healed.load(Ordering::SeqCst);
        async move { if healed { Ok(()) } else { Err(Failure::permanent("the shop is down")) } }
    };
    let consumer = fixture.spawn(Consumer::new(fixture.subscription("q"), fail)).await;
    fixture.publish_numbers("q", 3).await;
    seen.take(3).await;
    until(&consumer, |tally| tally.dead_lettered >= 3).await;
    heals.store(true, Ordering::SeqCst);
    let letters = DeadLetters::of(fixture.name("q"), fixture.broker());
    let letters = letters.quiet(Duration::from_millis(500));
    let replayed = letters.replay(&fixture.ctx, 10, |letter| letter.id() != "1").await.unwrap();
    assert_eq!((replayed.put_back, replayed.left), (2, 1));
    let mut again = [seen.next().await, seen.next().await];
    again.sort_unstable();
    assert_eq!(again, [("0".to_owned(), 1), ("2".to_owned(), 1)]);
    let (left, reason) = fixture.dead_letter("q").await;
    assert_eq!((left.id(), reason.as_str()), ("1", "the shop is down"));
}

/// Its handler is not called.
pub async fn a_message_that_has_expired_is_a_dead_letter<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let past = SystemTime::now() - Duration::from_secs(10);
    let message = Message::new("").with_id("old").with_deadline(past);
    let outgoing = Outgoing::to_topic(fixture.name("q"), message);
    fixture.publisher.publish(&fixture.ctx, outgoing).await.unwrap();
    let (letter, reason) = fixture.dead_letter("q").await;
    assert!(letter.id() == "old" && reason.starts_with("expired"), "{reason}");
    fixture.publish("q", "new").await;
    assert_eq!(seen.take(1).await, ["new"]);
}

/// More at a time, then fewer; nothing is lost by it.
pub async fn concurrency_changes_while_messages_flow<H: Harness>(fixture: Fixture<H>) {
    let (mut seen, open) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let (record, gate) = (seen.recorder(), Arc::clone(&open));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let noted = Arc::clone(&most);
    let wait = move |_ctx: Context, message: Incoming<Message>| {
        noted.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        record(&message);
        let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
        async move {
            gate.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let consumer = Consumer::new(fixture.subscription("q"), wait).concurrency(1);
    let consumer = fixture.spawn(consumer).await;
    fixture.publish_numbers("q", 20).await;
    seen.take(1).await;
    consumer.set(|settings| settings.concurrency = 5);
    seen.take(4).await;
    consumer.set(|settings| settings.concurrency = 2);
    consumer.settled().await;
    most.store(0, Ordering::SeqCst);
    open.add_permits(100);
    seen.take(15).await;
    assert!(most.load(Ordering::SeqCst) <= 2, "none begins before three are over");
    until(&consumer, |tally| tally.acked >= 20).await;
}

/// What is begun is told to end at once, and goes back uncounted.
pub async fn aborting_gives_back_what_is_begun<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let record = seen.recorder();
    let wait = move |ctx: Context, message: Incoming<Message>| {
        record(&message);
        async move { Err::<(), _>(Failure::from(ctx.done().await)) }
    };
    let once = RetryPolicy::default().attempts(1);
    // Longer than anybody waits: only the abort ends it.
    let never = Duration::from_secs(3600);
    let consumer = Consumer::new(fixture.subscription("q"), wait).retry(once).drain_budget(never);
    let consumer = fixture.spawn(consumer).await;
    fixture.publish("q", "one").await;
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
    consumer.abort();
    assert_eq!(consumer.settled().await, State::Stopped);
    assert_eq!((consumer.tally().released, consumer.tally().dead_lettered), (1, 0));
    consumer.start();
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
}

/// Whatever it has started under it is told.
pub async fn the_context_of_a_handler_ends_with_its_attempt<H: Harness>(fixture: Fixture<H>) {
    let (sender, mut contexts) = mpsc::unbounded_channel();
    let keep = move |ctx: Context, message: Incoming<Message>| {
        let _ = sender.send(ctx);
        let again = Failure::retry_after(Duration::ZERO, "again");
        let result = if message.attempt() == 1 { Err(again) } else { Ok(()) };
        async move { result }
    };
    fixture.spawn(Consumer::new(fixture.subscription("q"), keep)).await;
    fixture.publish("q", "one").await;
    for _ in 0..2 {
        contexts.recv().await.unwrap().done().await;
    }
}
