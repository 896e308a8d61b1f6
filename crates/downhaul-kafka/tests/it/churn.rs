//! Members that come and go under load, again and again.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Failure, Incoming, Message, Outgoing, RetryPolicy, Settlement, State,
    Subscription,
};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use downhaul_testkit::kafka::{Kind as Broker, shared_kind};
use downhaul_testkit::oracle::{Kind, Oracle, Promises, Report};
use tokio::sync::watch;

use crate::support::{Foreigner, shared_broker, soon, subscription, until};

const PARTITIONS: i32 = 6;
const ATTEMPTS: u32 = 2;
/// Their keys are in all partitions, so that whoever has two of the group's has work: one is the
/// step of delay's, where next to nothing comes.
const PUBLISHERS: usize = 8;
/// How long ago a message was finished that stands behind one which its handler has released while
/// the partition was about to go: both come again, and the member says so.
const LATE: Duration = Duration::from_secs(1);

/// How often one goes and one comes. A stand-in takes some seconds for each.
fn rounds() -> usize {
    let given = std::env::var("DOWNHAUL_KAFKA_ROUNDS").ok();
    let usual = if is_stand_in() { 8 } else { 20 };
    given.map_or(usual, |rounds| rounds.parse().expect("a number"))
}

fn is_stand_in() -> bool {
    shared_kind().is_some_and(|kind| kind != Broker::Apache)
}

/// Stand-ins have been seen to give one partition to two members at a time, where two changes met,
/// and to forget members that lived. Then messages come twice, which no client can help.
fn forgive(report: &mut Report) {
    let (twice, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut report.violations)
        .into_iter()
        .partition(|violation| violation.kind == Kind::Duplicate);
    if !twice.is_empty() {
        println!("SKIPPED in part: {} messages came twice, for which nobody can say", twice.len());
    }
    report.violations = rest;
}

async fn handle(_ctx: Context, message: Incoming<Message>) -> Result<Settlement, Failure> {
    let number: u64 = message.id().rsplit('/').next().unwrap_or_default().parse()?;
    // tidy: work that a change finds under way
    tokio::time::sleep(Duration::from_millis(1 + number % 5)).await;
    match number % 50 {
        1 if message.attempt() < ATTEMPTS => Err(std::io::Error::other("not yet"))?,
        5 if message.redeliveries() == 0 => Ok(Settlement::Release),
        _ => Ok(Settlement::Ack),
    }
}

fn member(
    number: usize,
    oracle: &Oracle,
    kafka: &Arc<Kafka>,
    subscription: &Subscription,
) -> ConsumerHandle {
    let short = Duration::from_millis(5);
    let name = format!("member-{number}");
    let broker = oracle.overhear(&name, Arc::clone(kafka) as _, LATE);
    Consumer::new(subscription.clone(), oracle.observe(name, handle))
        .concurrency(8)
        .retry(RetryPolicy::default().attempts(ATTEMPTS).backoff(short, short))
        .spawn(&Context::background(), broker)
}

/// Publishes until told to stop, each message when the one before is known. Returns how many.
async fn publish(
    key: usize,
    oracle: Oracle,
    kafka: Arc<Kafka>,
    topic: String,
    stop: watch::Receiver<bool>,
) -> u64 {
    let publisher = oracle.publisher(kafka);
    let (ctx, key, mut count) = (Context::background(), format!("key{key}"), 0);
    while !*stop.borrow() {
        let outgoing = Outgoing::to_topic(topic.as_str(), oracle.message(&key, "x"));
        oracle.publish_until_known(&publisher, &ctx, outgoing).await.unwrap();
        count += 1;
        // tidy: a pace that the members can keep
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    count
}

/// Rounds of one member that leaves and one that comes, and what the oracle says of them.
async fn run(kafka: Kafka, subscription: &Subscription, rounds: usize, foreigner: &Foreigner) {
    let (kafka, oracle) = (Arc::new(kafka), Oracle::new());
    let topic = subscription.queue();
    let (stop, stopped) = watch::channel(false);
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|key| {
            let (oracle, kafka, topic) = (oracle.clone(), Arc::clone(&kafka), topic.to_owned());
            tokio::spawn(publish(key, oracle, kafka, topic, stopped.clone()))
        })
        .collect();
    let mut members: Vec<_> =
        (0..3).map(|number| member(number, &oracle, &kafka, subscription)).collect();
    let mut gone = Vec::new();
    for round in 0..rounds {
        let wanted = oracle.done() + 20;
        soon(&format!("progress in round {round}"), oracle.until_done(wanted)).await;
        let leaver = members.remove(round % members.len());
        match round % 3 {
            0 => leaver.stop(),
            _ => leaver.drain(),
        }
        assert_eq!(soon("one leaves", leaver.settled()).await, State::Stopped);
        gone.push(leaver);
        let joiner = member(3 + round, &oracle, &kafka, subscription);
        assert_eq!(soon("one comes", joiner.settled()).await, State::Running);
        if is_stand_in() {
            // They forget members whom a change meets in the middle of another.
            until("it has its share", async || joiner.tally().acked > 0).await;
        }
        members.push(joiner);
    }
    stop.send_replace(true);
    let mut published = 0;
    for one in publishing {
        published += soon("publishers stop", one).await.unwrap();
    }
    soon("all is handled", oracle.until_done(published)).await;
    until("all is committed", async || {
        let committed = foreigner.committed(topic, topic, PARTITIONS).await;
        committed.values().sum::<i64>() >= i64::try_from(published).unwrap()
    })
    .await;
    for consumer in &members {
        consumer.drain();
    }
    gone.extend(members);
    for consumer in &gone {
        assert_eq!(soon("all leave", consumer.settled()).await, State::Stopped);
        let lost = consumer.tally().lost;
        assert!(lost == 0 || is_stand_in(), "{}: {lost}", consumer.name());
    }
    let mut report = oracle.check(&Promises::default().in_flight(8).attempts(ATTEMPTS));
    println!("{report}");
    if is_stand_in() {
        forgive(&mut report);
    }
    report.assert_clean();
    assert_eq!(report.summary.confirmed as u64, published);
}

/// Nothing is lost, nothing made up, and on a Kafka nothing comes twice without a cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_under_load_lose_nothing_and_repeat_nothing() {
    let (foreigner, subscription) = (Foreigner::shared(), subscription("rounds"));
    foreigner.make(&[subscription.queue()], PARTITIONS).await;
    run(shared_broker(), &subscription, rounds(), &foreigner).await;
}
