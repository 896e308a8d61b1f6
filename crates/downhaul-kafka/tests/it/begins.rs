//! Where a group begins that begins at the end of its topics.

use downhaul_consumer::{Message, Outgoing, Subscription, Verdict};
use downhaul_kafka::Kafka;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};

use crate::support::{
    Foreigner, Mock, STEP, all, close, mock, mock_kafka, publish, settle, sink, source,
    subscription, take, texts, until,
};

fn latest(subscription: &Subscription) -> (Mock, Kafka, Foreigner) {
    let (mock, kafka) = mock(1, subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    (mock, kafka.consumer_property("auto.offset.reset", "latest"), foreigner)
}

/// It began at the end once, and nothing was finished before it was gone. Whoever came next began
/// at the end again.
#[tokio::test]
async fn what_is_published_while_nobody_reads_is_not_left_out_by_a_group_that_began_at_the_end() {
    let subscription = subscription("end");
    let (_mock, kafka, foreigner) = latest(&subscription);
    foreigner.append(subscription.queue(), 0, ["before"]).await;
    let first = source(&kafka, &subscription).await;
    until("the end is committed", async || foreigner.committed_of(&subscription).await == Some(1))
        .await;
    close(first).await;
    foreigner.append(subscription.queue(), 0, ["between"]).await;
    let mut second = source(&kafka, &subscription).await;
    let deliveries = take(&mut *second, 1).await;
    assert_eq!(texts(&deliveries), ["between"]);
    settle(&mut *second, &all(&deliveries, Verdict::Ack)).await;
    close(second).await;
    assert_eq!(foreigner.committed_of(&subscription).await, Some(2));
}

/// Brokers stumble, as while their leaders move.
#[tokio::test]
async fn the_end_is_looked_for_until_it_is_found() {
    let subscription = subscription("stumbles");
    let (mock, kafka, foreigner) = latest(&subscription);
    foreigner.append(subscription.queue(), 0, ["before"]).await;
    read_a_retry(&mock, &subscription).await;
    mock.request_errors(Api::ListOffsets, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN; 2]);
    let mut source = source(&kafka, &subscription).await;
    foreigner.append(subscription.queue(), 0, ["after"]).await;
    assert_eq!(texts(&take(&mut *source, 1).await), ["after"]);
    close(source).await;
}

/// Has the topic for retries begun, so that nobody asks where that begins.
async fn read_a_retry(mock: &Mock, subscription: &Subscription) {
    let group = Subscription::new(subscription.queue());
    let kafka = mock_kafka(mock);
    let mut source = source(&kafka, &group).await;
    let message = Outgoing::to_queue(group.queue(), Message::new("x"));
    publish(&*sink(&kafka).await, &message.after(STEP)).await;
    let deliveries = take(&mut *source, 1).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}
