//! What is committed, and where a partition is read on from.

use std::time::{Duration, SystemTime};

use downhaul_consumer::{BrokerErrorKind, Subscription, Verdict};
use downhaul_context::Context;
use downhaul_kafka::Place;
use downhaul_testkit::kafka::{Gap, shared, shared_kind, shared_lacks};

use crate::support::{
    Foreigner, OwnBroker, all, close, nothing, numbers, settle, shared_broker, skips, soon, source,
    subscription, take, texts, until,
};

fn seed() -> u64 {
    let given = std::env::var("DOWNHAUL_KAFKA_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("DOWNHAUL_KAFKA_SEED={seed}");
    seed
}

/// However the order is, and it reaches that point without being asked.
#[tokio::test]
async fn what_is_committed_is_the_lowest_unfinished_offset_and_a_restart_begins_there() {
    const COUNT: usize = 200;
    let mut rng = fastrand::Rng::with_seed(seed());
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("random").with_prefetch(COUNT as u16);
    foreigner.make(&[subscription.queue()], 1).await;
    foreigner.append(subscription.queue(), 0, 0..COUNT).await;

    let mut first = source(&broker, &subscription).await;
    let deliveries = take(&mut *first, COUNT).await;
    assert_eq!(texts(&deliveries), numbers(0..COUNT));
    let mut order: Vec<_> = (0..COUNT).collect();
    rng.shuffle(&mut order);
    // Some are never finished, the last of the order among them.
    order.truncate(COUNT - 20);
    let mut finished = [false; COUNT];
    for chunk in order.chunks(30) {
        let batch: Vec<_> =
            chunk.iter().map(|index| (deliveries[*index].token, Verdict::Ack)).collect();
        assert_eq!(settle(&mut *first, &batch).await, []);
        chunk.iter().for_each(|index| finished[*index] = true);
        let lowest = finished.iter().position(|finished| !finished).unwrap();
        until("the commit", async || {
            let committed = foreigner.committed_of(&subscription).await.unwrap_or_default();
            assert!(committed <= lowest as i64, "{committed} is beyond {lowest}");
            committed == lowest as i64
        })
        .await;
    }
    // It did not take what is finished behind that.
    assert!(soon("it closes", first.close(&Context::background())).await.is_err());
    let lowest = finished.iter().position(|finished| !finished).unwrap();
    let mut second = source(&broker, &subscription).await;
    let again = take(&mut *second, COUNT - lowest).await;
    assert_eq!(texts(&again), numbers(lowest..COUNT));
    close(second).await;
}

/// Neither the interval nor the number of messages has come then.
#[tokio::test]
async fn what_is_finished_when_a_source_closes_or_is_dropped_is_committed() {
    let broker = shared_broker().commit_every(Duration::from_secs(600), 1_000);
    let foreigner = Foreigner::shared();
    let (closed, dropped) = (subscription("closed"), subscription("dropped"));
    for subscription in [&closed, &dropped] {
        foreigner.make(&[subscription.queue()], 1).await;
        foreigner.append(subscription.queue(), 0, 0..5).await;
    }
    let begin = async |subscription: &Subscription| {
        let mut source = source(&broker, subscription).await;
        let deliveries = take(&mut *source, 5).await;
        settle(&mut *source, &all(&deliveries[..3], Verdict::Ack)).await;
        source
    };
    let (first, second) = tokio::join!(begin(&closed), begin(&dropped));
    assert_eq!(foreigner.committed_of(&closed).await, None, "too early to prove anything");
    close(first).await;
    // When closing is over, and not some time later.
    assert_eq!(foreigner.committed_of(&closed).await, Some(3));
    drop(second);
    until("the commit", async || foreigner.committed_of(&dropped).await == Some(3)).await;
}

#[tokio::test]
async fn so_many_finished_messages_are_committed_at_once_whatever_the_interval() {
    let broker = shared_broker().commit_every(Duration::from_secs(600), 4);
    let (foreigner, subscription) = (Foreigner::shared(), subscription("many"));
    foreigner.make(&[subscription.queue()], 1).await;
    foreigner.append(subscription.queue(), 0, 0..7).await;
    let mut source = source(&broker, &subscription).await;
    let deliveries = take(&mut *source, 7).await;
    settle(&mut *source, &all(&deliveries[..3], Verdict::Ack)).await;
    settle(&mut *source, &all(&deliveries[3..4], Verdict::Ack)).await;
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(4)).await;
    // What is released is not finished.
    settle(&mut *source, &all(&deliveries[4..], Verdict::Release)).await;
    close(source).await;
    assert_eq!(foreigner.committed_of(&subscription).await, Some(4));
}

/// It comes again, and whoever closes must not believe otherwise.
#[tokio::test]
async fn a_source_that_closes_says_whether_something_was_finished_behind_what_was_not() {
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let finish = async |order: &[usize], released: usize| {
        let subscription = subscription("stranded");
        foreigner.make(&[subscription.queue()], 1).await;
        foreigner.append(subscription.queue(), 0, 0..3).await;
        let mut source = source(&broker, &subscription).await;
        let deliveries = take(&mut *source, 3).await;
        for index in order {
            settle(&mut *source, &all(&deliveries[*index..=*index], Verdict::Ack)).await;
        }
        settle(&mut *source, &all(&deliveries[released..=released], Verdict::Release)).await;
        let closed = soon("it closes", source.close(&Context::background())).await;
        let told = closed.err().map(|error| (error.to_string(), error.come_again()));
        (told, foreigner.committed_of(&subscription).await)
    };
    let (told, committed) = finish(&[0, 2], 1).await;
    let (told, come_again) = told.expect("it says so");
    assert_eq!(come_again, 1);
    assert!(told.ends_with("unfinished ones of their partition: 1"), "{told}");
    assert_eq!(committed, Some(1));
    assert_eq!(finish(&[1, 0], 2).await, (None, Some(2)));
}

/// The victim is this program once more, in a process that is killed.
#[tokio::test]
async fn a_process_that_is_killed_repeats_only_what_was_not_committed() {
    let (foreigner, subscription) = (Foreigner::shared(), subscription("crash"));
    foreigner.make(&[subscription.queue()], 1).await;
    foreigner.append(subscription.queue(), 0, 0..6).await;
    let victim = "offsets::a_victim_of_another_test";
    let process = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", victim, "--ignored"])
        .env("DOWNHAUL_KAFKA_BROKERS", shared())
        .env(VICTIM, subscription.queue())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let victim = Victim(process);
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(2)).await;
    drop(victim);
    let broker = shared_broker();
    let mut heir = source(&broker, &subscription).await;
    assert_eq!(texts(&take(&mut *heir, 4).await), numbers(2..6));
    assert_eq!(foreigner.committed_of(&subscription).await, Some(2));
    close(heir).await;
}

/// Killed when it is dropped.
struct Victim(std::process::Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names the queue that the victim consumes from.
const VICTIM: &str = "DOWNHAUL_KAFKA_VICTIM";

#[tokio::test]
#[ignore = "it is started by another test, and waits to be killed"]
async fn a_victim_of_another_test() {
    let Ok(queue) = std::env::var(VICTIM) else { return };
    let subscription = Subscription::new(queue.clone()).topic(queue);
    let broker = shared_broker();
    let mut source = source(&broker, &subscription).await;
    let deliveries = take(&mut *source, 6).await;
    settle(&mut *source, &all(&deliveries[..2], Verdict::Ack)).await;
    settle(&mut *source, &all(&deliveries[4..5], Verdict::Ack)).await;
    std::future::pending::<()>().await;
}

/// Transactions end with records that nobody gets.
#[tokio::test]
async fn gaps_in_offsets_do_not_hold_up_what_is_committed() {
    let test = "gaps_in_offsets_do_not_hold_up_what_is_committed";
    if shared_lacks(Gap::Transactions) {
        return skips(test, format!("{:?} {}", shared_kind(), Gap::Transactions));
    }
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("gaps");
    let topic = subscription.queue();
    foreigner.make(&[topic], 1).await;
    foreigner.transact(topic, &["a", "b"], true).await;
    let aborts = !shared_lacks(Gap::Aborted);
    match aborts {
        true => foreigner.transact(topic, &["x"], false).await,
        false => skips(test, format!("in part, as {:?} {}", shared_kind(), Gap::Aborted)),
    }
    foreigner.transact(topic, &["c"], true).await;
    let raw = foreigner.read(topic, 3).await;
    assert!(raw[2].offset > raw[1].offset + 1, "no gap to prove anything: {raw:?}");

    let mut source = source(&broker, &subscription).await;
    let deliveries = take(&mut *source, 3).await;
    assert_eq!(texts(&deliveries), ["a", "b", "c"]);
    settle(&mut *source, &all(&deliveries[1..], Verdict::Ack)).await;
    settle(&mut *source, &all(&deliveries[..1], Verdict::Ack)).await;
    let wanted = Some(raw[2].offset + 1);
    until("the commit", async || foreigner.committed_of(&subscription).await == wanted).await;
    close(source).await;
}

/// An idle consumer says no more than that it lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_not_committed_again_and_again() {
    let test = "what_is_committed_is_not_committed_again_and_again";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let kafka = own
        .kafka()
        .commit_every(Duration::from_millis(10), 1)
        .consumer_property("fetch.wait.max.ms", "1000");
    let (foreigner, subscription) =
        (Foreigner::at(&own.broker.bootstrap()), subscription("silent"));
    foreigner.make(&[subscription.queue()], 1).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 1).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(1)).await;
    let before = own.proxy.counts().to_upstream.passed;
    nothing(&mut *source, Duration::from_secs(2)).await;
    let said = own.proxy.counts().to_upstream.passed - before;
    // Some 14 heartbeats and fetches; a commit each 10 ms would be 20,000 bytes.
    assert!(said < 6_000, "{said} bytes");
    close(source).await;
}

#[tokio::test]
async fn a_group_goes_on_where_it_is_told() {
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("told");
    let topic = subscription.queue();
    foreigner.make(&[topic], 2).await;
    let both = async |numbers: std::ops::Range<usize>| {
        for partition in 0..2 {
            foreigner.append(topic, partition, numbers.clone()).await;
        }
    };
    both(0..3).await;
    let mut reader = source(&broker, &subscription).await;
    let deliveries = take(&mut *reader, 6).await;
    assert_eq!(settle(&mut *reader, &all(&deliveries, Verdict::Ack)).await, []);
    close(reader).await;

    let ctx = Context::background();
    broker.seek(&ctx, topic, topic, Place::First).await.unwrap();
    let mut reader = source(&broker, &subscription).await;
    let again = take(&mut *reader, 6).await;
    assert_eq!(settle(&mut *reader, &all(&again, Verdict::Ack)).await, []);
    close(reader).await;

    both(3..5).await;
    if shared_lacks(Gap::Positions) {
        let why = format!("in part, as {:?} {}", shared_kind(), Gap::Positions);
        return skips("a_group_goes_on_where_it_is_told", why);
    }
    broker.seek(&ctx, topic, topic, Place::End).await.unwrap();
    // tidy: records are told apart by the milliseconds at which they were made
    tokio::time::sleep(Duration::from_millis(50)).await;
    let then = SystemTime::now();
    both(5..6).await;
    let mut reader = source(&broker, &subscription).await;
    let new = take(&mut *reader, 2).await;
    assert_eq!(texts(&new), ["5", "5"]);
    assert_eq!(settle(&mut *reader, &all(&new, Verdict::Ack)).await, []);
    close(reader).await;

    broker.seek(&ctx, topic, topic, Place::Since(then)).await.unwrap();
    let mut reader = source(&broker, &subscription).await;
    assert_eq!(texts(&take(&mut *reader, 2).await), ["5", "5"]);
    close(reader).await;
    let later = then + Duration::from_secs(3600);
    broker.seek(&ctx, topic, topic, Place::Since(later)).await.unwrap();
    let ends = [(0, 6), (1, 6)].into();
    assert_eq!(foreigner.committed(topic, topic, 2).await, ends, "nothing is as late as that");
}

#[tokio::test]
async fn a_group_that_is_read_is_not_told_where_to_go_on() {
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("read");
    foreigner.make(&[subscription.queue()], 1).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let mut reader = source(&broker, &subscription).await;
    take(&mut *reader, 1).await;
    let (ctx, queue) = (Context::background(), subscription.queue());
    let error = broker.seek(&ctx, queue, queue, Place::End).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("while it is read: stop its consumers first"), "{error}");
    close(reader).await;

    let error = broker.seek(&ctx, queue, "no-such-topic", Place::End).await.unwrap_err();
    assert!(error.to_string().contains("there is no topic `no-such-topic`"), "{error}");
}
