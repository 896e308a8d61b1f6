//! Staying in a group, and leaving it.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, ConsumerHandle, Incoming, Message, Source, State, Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use downhaul_testkit::unique;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;

use crate::heard::Heard;
use crate::support::{
    Foreigner, OwnBroker, all, close, kafka, mock, mock_kafka, session, settle, shared_broker,
    soon, source, spawn, subscription, take, telling, texts, until, within,
};

/// The least that may be between two polls.
fn poll_interval() -> Duration {
    session()
}

fn hurried(kafka: Kafka) -> Kafka {
    kafka.consumer_property("max.poll.interval.ms", poll_interval().as_millis().to_string())
}

/// Longer than both the session and the time between two polls.
fn long() -> Duration {
    session() + Duration::from_millis(2_500)
}

/// Asserts that a consumer has all of its partitions from the beginning to the end of a test:
/// another that asks for the group's state would see the same member in the same generation, and
/// a verdict is not lost.
async fn keeps_its_membership(
    consumer: &ConsumerHandle,
    subscription: &Subscription,
    finished: u64,
) {
    until("it is finished", async || consumer.tally().acked == finished).await;
    assert_eq!((consumer.tally().acked, consumer.tally().lost), (finished, 0));
    assert_eq!(consumer.status().state, State::Running);
    let foreigner = Foreigner::shared();
    let wanted = Some(i64::try_from(finished).unwrap());
    until("the commit", async || foreigner.committed_of(subscription).await == wanted).await;
}

#[tokio::test]
async fn a_handler_that_takes_longer_than_the_poll_interval_keeps_the_membership() {
    let (broker, subscription) = (Arc::new(hurried(shared_broker())), subscription("long"));
    let foreigner = Foreigner::shared();
    foreigner.make(&[subscription.queue()], 1).await;
    let slow = |_ctx: Context, _message: Incoming<Message>| async {
        // tidy: longer than the broker's patience, which is on its own clock
        tokio::time::sleep(long()).await;
    };
    let consumer = spawn(Consumer::new(subscription.clone(), slow), broker).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    keeps_its_membership(&consumer, &subscription, 1).await;
    consumer.stop();
    soon("it stops", consumer.settled()).await;
}

/// On a runtime that has another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_its_thread_keeps_the_membership() {
    let (broker, subscription) = (Arc::new(hurried(shared_broker())), subscription("block"));
    let foreigner = Foreigner::shared();
    foreigner.make(&[subscription.queue()], 1).await;
    let slow = |_ctx: Context, _message: Incoming<Message>| async {
        block(long());
    };
    let consumer = spawn(Consumer::new(subscription.clone(), slow), broker).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    keeps_its_membership(&consumer, &subscription, 1).await;
    consumer.stop();
    soon("it stops", consumer.settled()).await;
}

#[allow(clippy::disallowed_methods, reason = "what must not be done, and is")]
fn block(time: Duration) {
    // tidy: a handler that does what it must not
    std::thread::sleep(time);
}

#[tokio::test]
async fn a_paused_consumer_keeps_the_membership() {
    let (broker, subscription) = (Arc::new(hurried(shared_broker())), subscription("paused"));
    let foreigner = Foreigner::shared();
    foreigner.make(&[subscription.queue()], 1).await;
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let wait = move |_ctx: Context, _message: Incoming<Message>| {
        let gate = Arc::clone(&gate);
        async move { gate.acquire().await.unwrap().forget() }
    };
    let consumer = spawn(Consumer::new(subscription.clone(), wait), broker).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    soon("it is begun", until("", async || consumer.in_flight().len() == 1)).await;
    consumer.pause();
    foreigner.append(subscription.queue(), 0, 1..2).await;
    // tidy: longer than the broker's patience, which is on its own clock
    tokio::time::sleep(long()).await;
    open.add_permits(2);
    keeps_its_membership_while_paused(&consumer).await;
    consumer.resume();
    keeps_its_membership(&consumer, &subscription, 2).await;
    consumer.stop();
    soon("it stops", consumer.settled()).await;
}

/// What was begun before is finished and counts.
async fn keeps_its_membership_while_paused(consumer: &ConsumerHandle) {
    until("what was begun is finished", async || consumer.tally().acked == 1).await;
    assert_eq!((consumer.status().state, consumer.tally().lost), (State::Paused, 0));
}

/// Nobody is let in before the session of one who is gone without a word is over.
const LONG_SESSION: Duration = Duration::from_secs(12);

fn patient() -> Kafka {
    let millis = LONG_SESSION.as_millis().to_string();
    shared_broker().consumer_property("session.timeout.ms", millis)
}

async fn has_its_partitions_at_once(prefix: &str, leaves: impl AsyncFnOnce(Box<dyn Source>)) {
    let broker = patient();
    let (foreigner, subscription) = (Foreigner::shared(), subscription(prefix));
    let group = subscription.queue();
    foreigner.make(&[group], 1).await;
    foreigner.append(group, 0, 0..3).await;
    let mut first = source(&broker, &subscription).await;
    let deliveries = take(&mut *first, 3).await;
    settle(&mut *first, &all(&deliveries[..1], Verdict::Ack)).await;
    leaves(first).await;
    let left = Instant::now();
    let mut heir = source(&broker, &subscription).await;
    assert_eq!(texts(&take(&mut *heir, 2).await), ["1", "2"]);
    assert!(left.elapsed() < LONG_SESSION * 5 / 6, "{:?}", left.elapsed());
    close(heir).await;
}

#[tokio::test]
async fn who_closes_leaves_its_partitions_to_the_others_at_once() {
    has_its_partitions_at_once("closed", close).await;
}

#[tokio::test]
async fn who_is_dropped_leaves_its_partitions_to_the_others_at_once() {
    has_its_partitions_at_once("dropped", async |source| drop(source)).await;
}

/// Its tasks are dropped wherever they are.
#[tokio::test]
async fn a_runtime_that_is_dropped_leaves_its_groups_to_others_at_once() {
    let (foreigner, subscription) = (Foreigner::shared(), subscription("runtime"));
    foreigner.make(&[subscription.queue()], 1).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let own = subscription.clone();
    let living = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let broker = patient();
        let mut source = runtime.block_on(source(&broker, &own));
        runtime.block_on(take(&mut *source, 1));
        runtime.spawn(async move {
            let _source = source;
            std::future::pending::<()>().await;
        });
    });
    soon("it is dropped", living).await.unwrap();
    let dropped = Instant::now();
    let broker = patient();
    let mut heir = source(&broker, &subscription).await;
    take(&mut *heir, 1).await;
    assert!(dropped.elapsed() < LONG_SESSION * 5 / 6, "{:?}", dropped.elapsed());
    close(heir).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Stop,
    Drain,
    Abort,
}

/// How long each of them may take: well under what a session takes.
const PROMPT: Duration = Duration::from_secs(4);

async fn obeys(consumer: &ConsumerHandle, word: Word, when: &str) {
    let since = Instant::now();
    match word {
        Word::Stop => consumer.stop(),
        Word::Drain => consumer.drain(),
        Word::Abort => consumer.abort(),
    }
    let state = within(Duration::from_secs(30), when, consumer.settled()).await;
    assert_eq!(state, State::Stopped, "{word:?} {when}");
    assert!(since.elapsed() < PROMPT, "{word:?} {when} took {:?}", since.elapsed());
}

/// It waits for records then.
#[tokio::test]
async fn every_word_to_stop_is_obeyed_promptly_while_there_is_nothing_to_do() {
    let subscription = subscription("idle");
    let (_mock, kafka) = mock(1, &subscription, 2);
    let kafka: Arc<dyn Broker> = Arc::new(kafka);
    let (handler, _told) = telling();
    let consumer = spawn(Consumer::new(subscription, handler), Arc::clone(&kafka)).await;
    for word in [Word::Stop, Word::Drain, Word::Abort] {
        obeys(&consumer, word, "while polling").await;
        consumer.start();
        assert_eq!(soon("it runs again", consumer.settled()).await, State::Running);
    }
    obeys(&consumer, Word::Stop, "at last").await;
}

/// The mock keeps who joins waiting for three seconds.
#[tokio::test]
async fn every_word_to_stop_is_obeyed_promptly_while_joining() {
    for word in [Word::Stop, Word::Drain, Word::Abort] {
        let subscription = subscription("joining");
        let (_mock, kafka) = mock(1, &subscription, 1);
        let (handler, _told) = telling();
        let consumer =
            Consumer::new(subscription, handler).spawn(&Context::background(), Arc::new(kafka));
        // tidy: long enough for it to have asked to join, and shorter than it takes to be let in
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(consumer.status().state, State::Starting);
        obeys(&consumer, word, "while joining").await;
    }
}

#[tokio::test]
async fn every_word_to_stop_is_obeyed_promptly_while_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for word in [Word::Stop, Word::Drain, Word::Abort] {
        let (handler, _told) = telling();
        let consumer = Consumer::new(subscription("nobody"), handler)
            .spawn(&Context::background(), Arc::new(kafka(&address)));
        // tidy: so that it is at whatever it does then
        tokio::time::sleep(Duration::from_millis(300)).await;
        obeys(&consumer, word, "while nobody listens").await;
    }
}

/// A frozen broker keeps its connections and says nothing. One was joined, one is just joining.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_word_to_stop_is_obeyed_promptly_while_no_broker_answers() {
    let test = "every_word_to_stop_is_obeyed_promptly_while_no_broker_answers";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let kafka = Arc::new(own.kafka());
    let mut consumers = Vec::new();
    for word in [Word::Stop, Word::Drain, Word::Abort] {
        let (handler, _told) = telling();
        let consumer = Consumer::new(subscription("frozen"), handler);
        consumers.push((word, consumer.spawn(&Context::background(), Arc::clone(&kafka) as _)));
    }
    for (_, consumer) in &consumers {
        assert_eq!(soon("it runs", consumer.settled()).await, State::Running);
    }
    own.broker.pause();
    for (word, consumer) in &consumers {
        obeys(consumer, *word, "while the broker is frozen").await;
    }
    let (handler, _told) = telling();
    let late = Consumer::new(subscription("late"), handler)
        .spawn(&Context::background(), Arc::clone(&kafka) as _);
    // tidy: so that it is at whatever it does then
    tokio::time::sleep(Duration::from_millis(300)).await;
    obeys(&late, Word::Stop, "while it opens at a frozen broker").await;
    own.broker.resume();
}

/// A handler under way is waited for by `drain` and `stop`, and what it finishes is committed.
#[tokio::test]
async fn what_is_finished_while_draining_is_committed_before_it_has_stopped() {
    let subscription = subscription("draining");
    let (mock, kafka) = mock(1, &subscription, 1);
    let kafka = kafka.commit_every(Duration::from_secs(600), 1_000);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..3).await;
    let (begun, open) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (beginning, gate) = (Arc::clone(&begun), Arc::clone(&open));
    let wait = move |_ctx: Context, _message: Incoming<Message>| {
        let (begun, gate) = (Arc::clone(&beginning), Arc::clone(&gate));
        async move {
            begun.notify_one();
            gate.acquire().await.unwrap().forget();
        }
    };
    let consumer = Consumer::new(subscription.clone(), wait).concurrency(1);
    let consumer = spawn(consumer, Arc::new(kafka)).await;
    soon("it begins", begun.notified()).await;
    consumer.drain();
    open.add_permits(10);
    assert_eq!(soon("it stops", consumer.settled()).await, State::Stopped);
    let acked = i64::try_from(consumer.tally().acked).unwrap();
    assert_eq!(foreigner.committed_of(&subscription).await, Some(acked));
}

/// With a consumer that polls, one that joins, and one that reaches nobody.
#[test]
fn a_runtime_that_is_dropped_with_consumers_does_not_hang() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (first, joining) = (subscription("first"), subscription("joining"));
        let (mock, kafka) = mock(1, &first, 1);
        mock.create_topic(joining.queue(), 1, 1).unwrap();
        for suffix in ["retry.500ms", "dead"] {
            mock.create_topic(&format!("{}.{suffix}", joining.queue()), 1, 1).unwrap();
        }
        let foreigner = Foreigner::at(&mock.bootstrap_servers());
        let (open, _never) = mpsc::unbounded_channel();
        runtime.block_on(async {
            foreigner.append(first.queue(), 0, 0..100).await;
            let stuck = move |_ctx: Context, _message: Incoming<Message>| {
                let open = open.clone();
                async move {
                    let _ = open.send(());
                    std::future::pending::<()>().await;
                }
            };
            let consumer = spawn(Consumer::new(first, stuck).concurrency(3), Arc::new(kafka)).await;
            until("some are begun", async || consumer.in_flight().len() == 3).await;
            let ctx = Context::background();
            let (handler, _told) = telling();
            drop(Consumer::new(joining, handler).spawn(&ctx, Arc::new(mock_kafka(&mock))));
            let (handler, _told) = telling();
            let nowhere = Arc::new(kafka_nowhere());
            drop(Consumer::new(subscription("nowhere"), handler).spawn(&ctx, nowhere));
            // tidy: so that they are at whatever they do then
            tokio::time::sleep(Duration::from_millis(300)).await;
        });
        drop(runtime);
        done.send(()).unwrap();
        drop(mock);
    });
    let ended = ended.recv_timeout(Duration::from_secs(20));
    assert!(ended.is_ok(), "it hangs");
}

fn kafka_nowhere() -> Kafka {
    kafka("127.0.0.1:1")
}

/// And what is opened from it afterwards fails.
#[tokio::test]
async fn a_broker_that_is_closed_ends_what_was_opened_from_it() {
    let subscription = subscription("closed");
    let (_mock, kafka) = mock(1, &subscription, 1);
    let mut open = source(&kafka, &subscription).await;
    let sink = crate::support::sink(&kafka).await;
    let ctx = Context::background();
    kafka.close(&ctx).await;
    let mut heard = Vec::new();
    let error = loop {
        match soon("it ends", open.next(&mut heard)).await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    let message = Message::new("x");
    let outgoing = downhaul_consumer::Outgoing::to_topic(unique("x"), message);
    let errors = [
        error,
        kafka.source(&ctx, &subscription).await.err().unwrap(),
        kafka.sink(&ctx).await.unwrap_err(),
        sink.send(&outgoing).await.err().unwrap(),
    ];
    for error in errors {
        assert_eq!(error.kind(), downhaul_consumer::BrokerErrorKind::Closed, "{error}");
    }
    drop(open);
}

/// A context that ends gives up, and leaves nobody in the group.
#[tokio::test]
async fn a_source_whose_opening_is_given_up_is_no_member() {
    let subscription = subscription("given-up");
    let (mock, kafka) = mock(1, &subscription, 1);
    let (ctx, canceller) = Context::root();
    let opening = kafka.source(&ctx, &subscription);
    let cancelling = async {
        // tidy: it has asked to join by then, which takes three seconds
        tokio::time::sleep(Duration::from_millis(700)).await;
        canceller.cancel();
    };
    let (opened, ()) = soon("it gives up", async { tokio::join!(opening, cancelling) }).await;
    assert!(!opened.err().unwrap().is_permanent());
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let mut next: Box<dyn Source> = source(&kafka, &subscription).await;
    let mut heard = Heard::default();
    let since = Instant::now();
    heard.until(&mut *next, "it is alone", |heard| heard.deliveries.len() == 1).await;
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    close(next).await;
}
