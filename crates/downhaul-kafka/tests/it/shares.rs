//! How the partitions of a group are shared out.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Broker, Consumer, ConsumerHandle, Incoming, Message};
use downhaul_context::Context;

use crate::support::{
    Foreigner, close, mock, shared_broker, source, spawn, subscription, take, texts, until,
};

const PARTITIONS: i32 = 4;

/// How many partitions a consumer has of a topic, and of others.
fn held(consumer: &ConsumerHandle, topic: &str) -> (usize, usize) {
    let lanes = consumer.snapshot().lanes;
    let of_it = lanes.iter().filter(|lane| *lane.topic == *topic).count();
    (of_it, lanes.len() - of_it)
}

/// An assignor counts partitions. In one group with the topics for retries, of which there are as
/// many here, one consumer may have those, and the other the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_share_the_work_evenly_however_many_topics_for_retries_there_are() {
    let subscription = subscription("shared");
    let topic = subscription.queue();
    Foreigner::shared().make(&[topic], PARTITIONS).await;
    let steps = [1, 2, 3, 4].map(Duration::from_secs);
    let broker: Arc<dyn Broker> = Arc::new(shared_broker().retry_steps(&steps));
    let consumer = || {
        Consumer::new(subscription.clone(), |_: Context, _: Incoming<Message>| async {}).ordered()
    };
    let first = spawn(consumer(), Arc::clone(&broker)).await;
    until("the first has all", async || held(&first, topic) == (4, 4)).await;
    let second = spawn(consumer(), broker).await;
    until("the second has as much of both", async || {
        [&first, &second].into_iter().all(|one| held(one, topic) == (2, 2))
    })
    .await;
    for consumer in [first, second] {
        consumer.stop();
        consumer.settled().await;
    }
}

/// So no two wait for each other that join two groups in different order.
#[tokio::test]
async fn a_member_that_has_not_heard_of_its_partitions_yet_gives_them_up_at_once() {
    let subscription = subscription("unheard-of");
    let (mock, kafka) = mock(1, &subscription, 2);
    let kafka = kafka
        .consumer_property("partition.assignment.strategy", "range")
        .revoke_budget(Duration::from_secs(3_600));
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    for partition in 0..2 {
        foreigner.append(subscription.queue(), partition, [partition]).await;
    }
    let mut first = source(&kafka, &subscription).await;
    let mut second = source(&kafka, &subscription).await;
    let mut all = texts(&take(&mut *first, 1).await);
    all.extend(texts(&take(&mut *second, 1).await));
    all.sort_unstable();
    assert_eq!(all, ["0", "1"]);
    close(first).await;
    close(second).await;
}
