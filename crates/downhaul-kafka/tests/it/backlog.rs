//! What is held back where handlers do not keep up.

use std::time::Duration;

use downhaul_consumer::{Delivery, Source, Subscription, Verdict};
use downhaul_kafka::Kafka;

use crate::capture::Capture;
use crate::heard::Heard;
use crate::support::{
    Foreigner, Mock, OwnBroker, all, close, mock, nothing, settle, shared_broker, soon, source,
    subscription, take, text, texts,
};

fn begin_with(deliveries: &[Delivery], prefix: &str) -> Vec<String> {
    texts(deliveries).into_iter().filter(|text| text.starts_with(prefix)).collect()
}

/// What a source reads of a partition where five messages may be unfinished, and what it reads of.
async fn five_of_twenty(
    subscription: &Subscription,
) -> ((Mock, Kafka), Box<dyn Source>, Vec<Delivery>) {
    let (mock, kafka) = mock(1, subscription, 1);
    let kafka = kafka.longest_gap(5);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..20).await;
    let mut source = source(&kafka, subscription).await;
    let deliveries = take(&mut *source, 5).await;
    ((mock, kafka), source, deliveries)
}

/// How far is a setting; then it goes on where it was.
#[tokio::test]
async fn a_message_that_is_unfinished_for_long_stops_its_partition_and_no_other() {
    const GAP: usize = 10;
    let broker = shared_broker().longest_gap(GAP);
    let (foreigner, subscription) = (Foreigner::shared(), subscription("gap").with_prefetch(200));
    let topic = subscription.queue();
    foreigner.make(&[topic], 2).await;
    foreigner.append(topic, 0, (0..30).map(|number| format!("a/{number}"))).await;
    foreigner.append(topic, 1, (0..30).map(|number| format!("b/{number}"))).await;
    let mut source = source(&broker, &subscription).await;
    let (mut held, mut heard) = (None, Heard::default());
    let mut counts = [0, 0];
    while counts != [GAP, 30] {
        heard.until(&mut *source, "more", |heard| !heard.deliveries.is_empty()).await;
        for delivery in std::mem::take(&mut heard.deliveries) {
            let text = text(&delivery.message);
            counts[usize::from(text.starts_with('b'))] += 1;
            if text == "a/0" {
                held = Some(delivery);
            } else {
                settle(&mut *source, &[(delivery.token, Verdict::Ack)]).await;
            }
            assert!(counts[0] <= GAP, "{counts:?}");
        }
    }
    nothing(&mut *source, Duration::from_millis(300)).await;
    // What is released comes again all the same.
    let held = held.unwrap();
    settle(&mut *source, &[(held.token, Verdict::Release)]).await;
    let again = take(&mut *source, 1).await;
    assert_eq!((texts(&again), again[0].redeliveries), (vec!["a/0".to_owned()], 1));
    settle(&mut *source, &all(&again, Verdict::Ack)).await;
    let rest = take(&mut *source, GAP).await;
    let wanted: Vec<_> = (GAP..2 * GAP).map(|number| format!("a/{number}")).collect();
    assert_eq!(begin_with(&rest, "a/"), wanted);
    settle(&mut *source, &all(&rest, Verdict::Ack)).await;
    let rest = take(&mut *source, GAP).await;
    settle(&mut *source, &all(&rest, Verdict::Ack)).await;
    close(source).await;
}

/// Also where nothing else happens that would wake anybody.
#[tokio::test]
async fn a_message_that_keeps_a_partition_from_being_read_is_told_of_once() {
    let (capture, subscription) = (Capture::start(), subscription("blocked").with_prefetch(200));
    let (_open, mut source, deliveries) = five_of_twenty(&subscription).await;
    settle(&mut *source, &all(&deliveries[..2], Verdict::Ack)).await;
    let more = take(&mut *source, 2).await;
    settle(&mut *source, &all(&deliveries[3..], Verdict::Ack)).await;
    nothing(&mut *source, Duration::from_millis(100)).await;
    assert_eq!(capture.warnings().len(), 0, "too early");

    tokio::time::pause();
    for _ in 0..4 {
        nothing(&mut *source, Duration::from_secs(6)).await;
    }
    tokio::time::resume();
    let warnings = capture.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let fields = &warnings[0].fields;
    assert_eq!(fields["topic"], subscription.queue());
    assert_eq!((&*fields["partition"], &*fields["offset"]), ("0", "2"));
    assert!(fields["age"].starts_with("10") && fields["age"].ends_with('s'), "{fields:?}");
    // And again for another.
    settle(&mut *source, &all(&deliveries[2..3], Verdict::Ack)).await;
    let rest = take(&mut *source, 3).await;
    assert_eq!(texts(&more), ["5", "6"]);
    nothing(&mut *source, Duration::from_millis(100)).await;
    tokio::time::pause();
    nothing(&mut *source, Duration::from_secs(12)).await;
    tokio::time::resume();
    assert_eq!(capture.warnings().len(), 2);
    assert_eq!(capture.warnings()[1].fields["offset"], "5");
    settle(&mut *source, &all(&more, Verdict::Ack)).await;
    settle(&mut *source, &all(&rest, Verdict::Ack)).await;
    close(source).await;
}

/// A consumer that was paused meanwhile has other reasons not to read on.
#[tokio::test]
async fn a_message_that_was_finished_is_not_told_of_though_nothing_is_read_since() {
    let (capture, subscription) = (Capture::start(), subscription("unblocked").with_prefetch(200));
    let (_open, mut source, deliveries) = five_of_twenty(&subscription).await;
    nothing(&mut *source, Duration::from_millis(100)).await;
    soon("set", source.set_prefetch(0)).await.unwrap();
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    tokio::time::pause();
    nothing(&mut *source, Duration::from_secs(12)).await;
    tokio::time::resume();
    let warnings = capture.warnings();
    assert_eq!(warnings.len(), 0, "{warnings:?}");
    close(source).await;
}

/// Only a buffer of it is fetched, whose size is a setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_handled_waits_at_the_broker() {
    const MEGABYTE: u64 = 1_000_000;
    let test = "what_is_not_handled_waits_at_the_broker";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let kafka = own
        .kafka()
        .consumer_property("queued.max.messages.kbytes", "500")
        .consumer_property("fetch.message.max.bytes", "100000");
    let foreigner = Foreigner::at(&own.broker.bootstrap());
    let subscription = subscription("slow").with_prefetch(2);
    let topic = subscription.queue();
    foreigner.make(&[topic], 1).await;
    let body = "x".repeat(10_000);
    for _ in 0..20 {
        foreigner.append(topic, 0, std::iter::repeat_n(&body, 100)).await;
    }
    let before = own.proxy.counts().to_client.passed;
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 2).await;
    let mut passed = own.proxy.counts().to_client.passed;
    // Until it has fetched all that it wants.
    loop {
        nothing(&mut *source, Duration::from_secs(1)).await;
        let now = own.proxy.counts().to_client.passed;
        if now - passed < 10_000 {
            break;
        }
        passed = now;
    }
    let fetched = own.proxy.counts().to_client.passed - before;
    assert!(fetched < 3 * MEGABYTE, "{fetched} of 20 MB");
    // And all of it comes in the end.
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    soon("set", source.set_prefetch(1_000)).await.unwrap();
    let mut heard = Heard::default();
    let mut count = 2;
    while count < 2_000 {
        heard.until(&mut *source, "more", |heard| !heard.deliveries.is_empty()).await;
        let more = std::mem::take(&mut heard.deliveries);
        count += more.len();
        settle(&mut *source, &all(&more, Verdict::Ack)).await;
    }
    close(source).await;
}
