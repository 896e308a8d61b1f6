//! What a consumer says of its partitions: which it has, and how far it is behind in each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Consumer, ConsumerHandle, Failure, Incoming, Message};
use downhaul_context::Context;
use tokio::sync::Semaphore;

use crate::support::{Foreigner, mock, spawn, subscription, until};

/// By topic and partition.
fn seen(consumer: &ConsumerHandle) -> BTreeMap<(String, u32), Option<u64>> {
    let lanes = consumer.snapshot().lanes.into_iter();
    lanes.map(|lane| ((lane.topic.to_string(), lane.partition), lane.lag)).collect()
}

#[tokio::test]
async fn a_consumer_says_which_partitions_it_has_and_how_much_of_each_is_unfinished() {
    let subscription = subscription("behind");
    let (mock, kafka) = mock(1, &subscription, 2);
    let (topic, retry) = (subscription.queue(), format!("{}.retry.500ms", subscription.queue()));
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(topic, 0, 0..5).await;
    foreigner.append(topic, 1, 0..3).await;
    let keys = [(topic.to_owned(), 0), (topic.to_owned(), 1), (retry, 0)];
    let lags = |lags: [u64; 3]| keys.clone().into_iter().zip(lags.map(Some)).collect();
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let handler = move |_: Context, _: Incoming<Message>| {
        let open = Arc::clone(&open);
        async move { open.acquire().await.unwrap().forget() }
    };
    let consumer = Consumer::new(subscription.clone(), handler).concurrency(1);
    let consumer = spawn(consumer, Arc::new(kafka)).await;
    until("all is behind", async || seen(&consumer) == lags([5, 3, 0])).await;
    assert_eq!(consumer.snapshot().lag(), Some(8));
    gate.add_permits(8);
    until("nothing is behind", async || seen(&consumer) == lags([0, 0, 0])).await;
    foreigner.append(topic, 1, 3..4).await;
    until("one more came", async || seen(&consumer) == lags([0, 1, 0])).await;
    gate.add_permits(1);
    consumer.stop();
    consumer.settled().await;
    assert!(seen(&consumer).is_empty());
}

/// It was read, and is not due.
#[tokio::test]
async fn what_waits_for_its_next_attempt_in_a_topic_is_unfinished() {
    let subscription = subscription("waits");
    let (mock, kafka) = mock(1, &subscription, 1);
    // The longest step, which has room for less.
    mock.create_topic(&format!("{}.retry.1h", subscription.queue()), 1, 1).unwrap();
    let kafka = kafka.retry_steps(&[Duration::from_secs(3_600)]);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    let later = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::retry_after(Duration::from_secs(1_800), "not yet"))
    };
    let consumer = spawn(Consumer::new(subscription.clone(), later), Arc::new(kafka)).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let is_parked = async || consumer.tally().retried == 1;
    until("it is parked", is_parked).await;
    until("it is behind", async || consumer.snapshot().lag() == Some(1)).await;
    // tidy: it is looked at again every second, and nothing changes
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(consumer.snapshot().lag(), Some(1));
}
