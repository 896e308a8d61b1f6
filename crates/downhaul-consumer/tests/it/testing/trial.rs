//! What a trial says of messages, for each thing that can become of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::testing::{Ending, Trial};
use downhaul_consumer::{
    Batches, Consumer, Failure, Incoming, Json, Message, MessageObserver, Meta, Outcome, Outgoing,
    Processed, RetryPolicy, Settlement, Subscription,
};
use downhaul_context::{Context, Instant};
use tracing::Span;

use crate::support::{SECOND, subscription};

fn later() -> Failure {
    std::io::Error::other("not yet").into()
}

/// Does what the message says.
async fn obey(_: Context, word: Incoming<Json<String>>) -> Result<Settlement, Failure> {
    match (word.body.0.as_str(), word.attempt()) {
        ("ack", _) | ("retry", 3) => Ok(Settlement::Ack),
        ("dead", _) => Ok(Settlement::DeadLetter { reason: "unwanted".to_owned() }),
        ("permanent", _) => Err(Failure::permanent("never")),
        ("drop", _) => Ok(Settlement::Drop { reason: "worthless".to_owned() }),
        ("release", _) if word.redeliveries() < 3 => Ok(Settlement::Release),
        ("release", _) => Ok(Settlement::Ack),
        ("panic", _) => panic!("planted"),
        ("hang", _) => std::future::pending().await,
        ("retry", 1) => Err(Failure::retry_after(SECOND / 2, std::fmt::Error)),
        ("retry", 2) => Err(Failure::retry_after(90 * SECOND, std::fmt::Error)),
        _ => Err(later()),
    }
}

fn word(word: &str) -> Message {
    Message::json(word).unwrap()
}

async fn obedient() -> Trial {
    Trial::of(Consumer::new(subscription(), obey)).await
}

#[tokio::test(start_paused = true)]
async fn a_trial_says_how_each_message_ended() {
    let trial = obedient().await;
    let endings = [
        ("ack", Ending::Acked),
        ("dead", Ending::dead("unwanted")),
        ("permanent", Ending::dead("never")),
        ("drop", Ending::dropped("worthless")),
        ("release", Ending::Released),
        ("panic", Ending::dead("the handler panicked: planted")),
        ("fail", Ending::dead("failed 5 times, the last time: not yet")),
    ];
    for (name, ending) in &endings {
        assert_eq!(trial.send(word(name)).await.unwrap().ending, *ending, "{name}");
    }
    let all = endings.iter().map(|(name, _)| word(name));
    let fates = trial.send_all(all).await.unwrap();
    assert!(fates.iter().map(|fate| &fate.ending).eq(endings.iter().map(|(_, ending)| ending)));
    assert_eq!(trial.dead_letters().len(), 8);
    let undecodable = trial.send(Message::new("{")).await.unwrap();
    assert!(matches!(undecodable.ending, Ending::DeadLetter { .. }), "{undecodable:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fate_has_every_attempt_with_its_error_and_the_pause_behind_it() {
    let trial = obedient().await;
    let fate = trial.send(word("retry")).await.unwrap();
    assert_eq!(fate.ending, Ending::Acked);
    let retried = |after| Ending::Retried { after: Some(after) };
    let endings: Vec<_> = fate.attempts.iter().map(|attempt| attempt.ending.clone()).collect();
    // The first is waited for in hand, the second at the broker.
    assert_eq!(endings, [retried(SECOND / 2), retried(90 * SECOND), Ending::Acked]);
    assert_eq!(fate.attempts.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(fate.attempts[0].error.as_deref().unwrap().contains("formatting"));
    assert_eq!(fate.took, 90 * SECOND + SECOND / 2);
    assert_eq!(trial.published(), [], "what is parked is the engine's");
}

#[tokio::test(start_paused = true)]
async fn who_hangs_is_in_the_error_with_attempt_and_time() {
    let trial = obedient().await.patience(700 * SECOND);
    let began = Instant::now();
    let error = trial.send(word("hang").with_id("stuck")).await.unwrap_err().to_string();
    assert_eq!(began.elapsed(), 700 * SECOND);
    let start = "message stuck had no end after 700s of virtual time: attempt 3 is still being \
                 handled, in flight since ";
    assert!(error.starts_with(start), "{error}");
    assert!(error.ends_with("; the consumer is running and handles 1"), "{error}");
    let fate = trial.patience(3600 * SECOND).end_of("stuck").await.unwrap();
    assert_eq!(fate.attempts.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_takes_is_said_to_wait() {
    let trial = obedient().await;
    trial.stop().await.unwrap();
    let error = trial.send(word("ack").with_id("a")).await.unwrap_err().to_string();
    assert!(error.contains("it was not delivered, and 1 wait in the queue"), "{error}");
    assert!(error.contains("the consumer is stopped"), "{error}");
    trial.consumer().start();
    assert_eq!(trial.end_of("a").await.unwrap().ending, Ending::Acked);
}

#[tokio::test(start_paused = true)]
async fn what_was_released_can_be_waited_for() {
    let trial = obedient().await;
    let fate = trial.send(word("release").with_id("a")).await.unwrap();
    assert_eq!((fate.ending, fate.attempts.len()), (Ending::Released, 1));
    let fate = trial.end_of("a").await.unwrap();
    assert_eq!((fate.ending, fate.attempts.len()), (Ending::Acked, 4));
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_emits_is_kept_also_for_topics_that_nobody_listens_to() {
    let emit = |_: Context, order: Incoming<Message>| async move {
        let to_topic = Outgoing::to_topic("nobody", order.body.clone());
        Outcome::new(Settlement::Ack).emit(to_topic)
    };
    let trial = Trial::of(Consumer::new(Subscription::new("q"), emit)).await;
    assert_eq!(trial.send(Message::new("7")).await.unwrap().ending, Ending::Acked);
    assert_eq!(trial.published_to("nobody")[0].payload().as_ref(), b"7");
    trial.faults().nack_publishes(1);
    let fate = trial.send(Message::new("8")).await.unwrap();
    assert_eq!(fate.attempts.len(), 2);
    assert_eq!(fate.attempts[0].error.as_deref(), Some("the broker nacked the message"));
    assert_eq!(trial.published().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_was_not_taken_is_no_end() {
    let trial = obedient().await;
    trial.faults().nack_publishes(2);
    let fate = trial.send(word("dead")).await.unwrap();
    assert_eq!((fate.ending, fate.attempts.len()), (Ending::dead("unwanted"), 3));
    assert_eq!(trial.dead_letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_told_from_what_was_handled() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let handle = move |_: Context, _: Incoming<Message>| {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    };
    let consumer = Consumer::new(subscription(), handle).dedupe(Arc::new(MemoryInbox::new()));
    let trial = Trial::of(consumer).await;
    let order = Message::new("").with_id("order-7");
    assert_eq!(trial.send(order.clone()).await.unwrap().ending, Ending::Acked);
    let again = trial.send(order).await.unwrap();
    assert_eq!((again.ending, again.attempts), (Ending::Duplicate, Vec::new()));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_batch_have_their_fates_each() {
    let handle = |_: Context, batch: Vec<Incoming<Json<u32>>>| async move {
        let odd = |number: u32| match number % 2 {
            0 => Ok(()),
            _ => Err(Failure::permanent("odd")),
        };
        batch.into_iter().map(|one| odd(one.body.0)).collect::<Vec<_>>()
    };
    let batches = Batches::of(4).within(SECOND);
    let trial = Trial::of(Consumer::batches(subscription(), batches, handle)).await;
    let numbers = (0..6).map(|number| Message::json(&number).unwrap());
    let fates = trial.send_all(numbers).await.unwrap();
    let acked: Vec<_> = fates.iter().map(|fate| fate.ending == Ending::Acked).collect();
    assert_eq!(acked, [true, false, true, false, true, false]);
}

/// Counts what it is told.
#[derive(Debug, Default)]
struct Counting(AtomicU32);

impl MessageObserver for Counting {
    fn process(&self, ctx: Context, _: &Meta) -> (Context, Span) {
        self.0.fetch_add(1, Ordering::Relaxed);
        (ctx.with_value(7_u32), Span::none())
    }

    fn processed(&self, _: &Processed<'_>) {
        self.0.fetch_add(100, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_observer_of_the_consumer_goes_on_as_before() {
    let handle = |ctx: Context, _: Incoming<Message>| async move {
        assert_eq!(ctx.value::<u32>(), Some(&7));
    };
    let counting = Arc::new(Counting::default());
    let trial = Trial::of(Consumer::new(subscription(), handle).observer(counting.clone())).await;
    trial.send(Message::new("")).await.unwrap();
    assert_eq!(counting.0.load(Ordering::Relaxed), 101);
}

/// Writes down of each attempt whether it is the first of its delivery.
#[derive(Debug, Default)]
struct Deliveries(Mutex<Vec<bool>>);

impl MessageObserver for Deliveries {
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        self.0.lock().unwrap().push(meta.is_first_of_delivery());
        (ctx, Span::none())
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_in_hand_is_no_delivery_and_one_by_way_of_the_broker_is() {
    for (pause, first) in [(Duration::ZERO, [true, false]), (Duration::from_secs(900), [true; 2])] {
        let handle = |_: Context, message: Incoming<Message>| async move {
            if message.attempt() == 1 { Err(later()) } else { Ok(()) }
        };
        let deliveries = Arc::new(Deliveries::default());
        let retry = RetryPolicy::default().attempts(2).backoff(pause, pause);
        let consumer = Consumer::new(subscription(), handle).retry(retry);
        let trial = Trial::of(consumer.observer(deliveries.clone())).await;
        trial.send(Message::new("")).await.unwrap();
        assert_eq!(*deliveries.0.lock().unwrap(), first, "{pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_leaves_no_task_behind() {
    let trial = obedient().await;
    let handle = trial.consumer().clone();
    drop(trial);
    handle.ended().await;
    tokio::task::yield_now().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
#[should_panic(expected = "a trial needs a paused clock")]
async fn a_trial_whose_clock_runs_says_what_to_do() {
    let _trial = obedient().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_policy_is_seen_to_back_off() {
    let retry = RetryPolicy::default().attempts(3).backoff(10 * SECOND, 60 * SECOND);
    let trial = Trial::of(Consumer::new(subscription(), obey).retry(retry)).await;
    let fate = trial.send(word("fail")).await.unwrap();
    let pauses: Vec<_> = fate
        .attempts
        .iter()
        .filter_map(|attempt| match attempt.ending {
            Ending::Retried { after } => after,
            _ => None,
        })
        .collect();
    assert_eq!(pauses.len(), 2);
    assert!(pauses[0] >= 5 * SECOND && pauses[0] <= 11 * SECOND, "{pauses:?}");
    assert!(pauses[1] >= 20 * SECOND && pauses[1] <= 41 * SECOND, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn all_that_an_attempt_emits_has_five_seconds() {
    let emit = |_: Context, count: Incoming<Json<u32>>| async move {
        let emits = (0..count.body.0).map(|_| Outgoing::to_topic("out", Message::new("")));
        emits.fold(Outcome::new(Settlement::Ack), Outcome::emit)
    };
    let consumer = Consumer::new(subscription(), emit).retry(RetryPolicy::default().attempts(1));
    let trial = Trial::of(consumer).await;
    trial.faults().slow_sends(2 * SECOND);
    let fits = trial.send(Message::json(&2).unwrap()).await.unwrap();
    assert_eq!(fits.ending, Ending::Acked);
    let too_long = trial.send(Message::json(&3).unwrap()).await.unwrap();
    assert!(matches!(too_long.ending, Ending::DeadLetter { .. }), "{too_long:?}");
}
