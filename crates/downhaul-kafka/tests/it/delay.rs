//! Messages that are held back.

use std::time::{Duration, SystemTime};

use downhaul_consumer::{
    BrokerErrorKind, Message, Outgoing, PublishOutcome, Sink, Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::{Kafka, NewTopics, Place};

use crate::capture::Capture;
use crate::heard::Heard;
use crate::support::{
    Foreigner, Mock, Raw, STEP, all, close, mock, nothing, publish, settle, shared_broker, sink,
    source, subscription, take, text, texts, until,
};

fn broker() -> Kafka {
    shared_broker().retry_steps(&[Duration::from_millis(600), Duration::from_secs(4)])
}

async fn send(sink: &dyn Sink, queue: &str, text: &str, delay: Duration) -> SystemTime {
    let outgoing = Outgoing::to_queue(queue, Message::new(text.to_owned())).after(delay);
    let sent = SystemTime::now();
    let outcome = publish(sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    sent
}

/// A long one was there first.
#[tokio::test]
async fn a_delayed_message_is_never_early_and_a_short_delay_does_not_wait_for_a_long_one() {
    let (broker, subscription) = (broker(), subscription("delayed"));
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let queue = subscription.queue();
    let (long, short) = (Duration::from_secs(4), Duration::from_millis(600));
    let first = send(&*sink, queue, "long", long).await;
    let second = send(&*sink, queue, "short", short).await;
    let third = send(&*sink, queue, "at once", Duration::ZERO).await;
    let mut heard = Heard::default();
    heard.until(&mut *source, "two", |heard| heard.deliveries.len() == 2).await;
    let at = SystemTime::now();
    let mut both = texts(&heard.deliveries);
    both.sort_unstable();
    assert_eq!(both, ["at once", "short"]);
    assert!(at.duration_since(second).unwrap() >= short);
    assert!(at.duration_since(first).unwrap() < long, "the long one held it up");
    assert!(at.duration_since(third).unwrap() < long);
    let rest = take(&mut *source, 1).await;
    assert_eq!(texts(&rest), ["long"]);
    assert!(first.elapsed().unwrap() >= long);
    heard.deliveries.extend(rest);
    assert!(heard.deliveries.iter().all(|delivery| delivery.topic.is_none()), "of no topic");
    for delivery in &heard.deliveries {
        let due = delivery.message.headers().get("due-ms");
        assert_eq!(due, None, "{} says what is ours", text(&delivery.message));
    }
    settle(&mut *source, &all(&heard.deliveries, Verdict::Ack)).await;
    close(source).await;
}

/// So that the topics for retries do not count among those with the work.
#[tokio::test]
async fn what_was_held_back_is_committed_by_a_group_of_its_own() {
    let (broker, subscription) = (broker(), subscription("apart"));
    let mut reader = source(&broker, &subscription).await;
    let queue = subscription.queue();
    send(&*sink(&broker).await, queue, "later", Duration::ZERO).await;
    let deliveries = take(&mut *reader, 1).await;
    settle(&mut *reader, &all(&deliveries, Verdict::Ack)).await;
    close(reader).await;
    let (foreigner, retry) = (Foreigner::shared(), retry_topic(&subscription, "600ms"));
    let committed = foreigner.committed(&format!("{queue}.retry"), &retry, 1).await;
    assert_eq!(committed.get(&0), Some(&1));
    assert!(foreigner.committed(queue, &retry, 1).await.is_empty());
    // And it is that group which goes on where it is told.
    broker.seek(&Context::background(), queue, &retry, Place::First).await.unwrap();
    let mut reader = source(&broker, &subscription).await;
    assert_eq!(texts(&take(&mut *reader, 1).await), ["later"]);
    close(reader).await;
}

/// It was acknowledged where it came from, so nobody else has it.
#[tokio::test]
async fn what_waits_is_not_left_out_by_a_group_that_begins_at_the_end() {
    let subscription = subscription("latest");
    let (_mock, kafka) = mock(1, &subscription, 1);
    let kafka = kafka.consumer_property("auto.offset.reset", "latest");
    close(source(&kafka, &subscription).await).await;
    let (sink, queue) = (sink(&kafka).await, subscription.queue());
    send(&*sink, queue, "before", STEP).await;
    let mut source = source(&kafka, &subscription).await;
    send(&*sink, queue, "after", STEP).await;
    assert_eq!(texts(&take(&mut *source, 1).await), ["before"]);
    close(source).await;
}

/// Its own clock was wrong, or ours is now, or somebody else has written it.
#[tokio::test]
async fn a_message_that_says_that_it_is_due_in_years_waits_no_longer_than_its_topic_is_for() {
    let subscription = subscription("skewed");
    let (mock, kafka) = mock(1, &subscription, 1);
    let (retry, foreigner) = (retry_topic(&subscription, "500ms"), foreigner(&mock));
    let years = SystemTime::now() + Duration::from_secs(100_000_000);
    let millis = years.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let due = ("due-ms".to_owned(), Some(millis.to_string().into_bytes()));
    let (headers, value) = (vec![due], Some(b"skewed".to_vec()));
    foreigner.append_raw(&retry, &Raw { headers, value, ..Raw::default() }).await;
    foreigner.append(&retry, 0, ["behind it"]).await;
    let capture = Capture::start();
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take_some(&mut *source, 2).await;
    assert_eq!(texts(&deliveries), ["skewed", "behind it"]);
    let warnings = capture.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].fields["topic"], retry);
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}

/// They hold what was parked before the steps were changed.
#[tokio::test]
async fn topics_of_steps_that_a_group_once_had_are_read_on() {
    let subscription = subscription("former");
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = foreigner(&mock);
    let former = retry_topic(&subscription, "7m");
    let others = ["soon", "7m.retry.1s"].map(|step| retry_topic(&subscription, step));
    for topic in others.iter().chain([&former]) {
        mock.create_topic(topic, 1, 1).unwrap();
        foreigner.append(topic, 0, [topic]).await;
    }
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 1).await;
    assert_eq!(texts(&deliveries), [former]);
    assert!(deliveries[0].topic.is_none(), "of no topic");
    nothing(&mut *source, Duration::from_millis(500)).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}

/// Messages are lost there without anybody's fault.
#[tokio::test]
async fn a_topic_that_keeps_messages_for_less_than_they_wait_there_is_warned_of() {
    let kept = NewTopics::partitions(1).config("retention.ms", "2000");
    let (broker, subscription) = (broker().group_topics(kept), subscription("short-lived"));
    let capture = Capture::start();
    let source = source(&broker, &subscription).await;
    until("the warning", async || !capture.warnings().is_empty()).await;
    let warnings = capture.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].fields["topic"], retry_topic(&subscription, "4s"));
    close(source).await;
}

#[tokio::test]
async fn a_delay_beyond_all_time_is_refused() {
    let (broker, subscription) = (broker(), subscription("endless"));
    drop(source(&broker, &subscription).await);
    let sink = sink(&broker).await;
    // Known from now on, and sent in place.
    publish(&*sink, &Outgoing::to_topic(subscription.queue(), Message::new("now"))).await;
    for delay in [Duration::MAX, Duration::from_secs(1 << 60)] {
        let outgoing = Outgoing::to_topic(subscription.queue(), Message::new("never")).after(delay);
        assert!(sink.try_send(&outgoing).is_none_or(|sent| sent.is_err()));
        let error = sink.send(&outgoing).await.err().unwrap();
        assert_eq!(error.kind(), BrokerErrorKind::Message, "{error}");
    }
}

/// Two groups of the same topic: one has failed, and tries again.
#[tokio::test]
async fn what_is_sent_to_a_group_comes_to_it_alone() {
    let (broker, one) = (broker(), subscription("one"));
    let other = Subscription::new(format!("{}-other", one.queue())).topic(one.queue());
    let (mut first, mut second) = tokio::join!(source(&broker, &one), source(&broker, &other));
    let sink = sink(&broker).await;
    send(&*sink, one.queue(), "mine", Duration::from_millis(600)).await;
    let outgoing = Outgoing::to_topic(one.queue(), Message::new("ours"));
    publish(&*sink, &outgoing).await;
    let mut mine = texts(&take_some(&mut *first, 2).await);
    mine.sort_unstable();
    assert_eq!(mine, ["mine", "ours"]);
    assert_eq!(texts(&take(&mut *second, 1).await), ["ours"]);
    nothing(&mut *second, Duration::from_millis(500)).await;
    close(first).await;
    close(second).await;
}

fn retry_topic(subscription: &Subscription, step: &str) -> String {
    format!("{}.retry.{step}", subscription.queue())
}

fn foreigner(mock: &Mock) -> Foreigner {
    Foreigner::at(&mock.bootstrap_servers())
}

async fn take_some(
    source: &mut dyn downhaul_consumer::Source,
    count: usize,
) -> Vec<downhaul_consumer::Delivery> {
    let mut heard = Heard::default();
    heard.until(source, "some", |heard| heard.deliveries.len() >= count).await;
    heard.deliveries
}
