//! What brokers cannot be made to do at will: librdkafka's mock, which answers late, and forgets
//! members. It shows what transactions have published before they end.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Event, Message, Outgoing, PublishOutcome, Publisher, Source, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};

use crate::support::{
    LONG, Names, STEP, close, emit, ids, names, open, receive, send, settle, visible_at,
};

/// The broker that coordinates transactions and does nothing else.
const COORDINATOR: i32 = 2;
/// How long it takes to answer when it is slow. A transaction asks it three times.
const SLOW: Duration = Duration::from_secs(1);

struct Mock {
    names: Names,
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Mock {
    /// With so many messages in one partition.
    async fn with(messages: usize) -> Self {
        let (names, cluster) = (names(), MockCluster::new(2).unwrap());
        let (retry, dead) = (names.retry(), names.dead());
        for topic in [&names.input, &names.output, &retry, &dead] {
            cluster.create_topic(topic, 1, 1).unwrap();
            cluster.partition_leader(topic, 0, Some(1)).unwrap();
        }
        cluster.coordinator(MockCoordinator::Group(names.group.clone()), 1).unwrap();
        let id = MockCoordinator::Transaction(names.id.clone());
        cluster.coordinator(id, COORDINATOR).unwrap();
        let this = Self { names, cluster };
        let messages = ids(messages).map(|id| {
            let message = Message::identified(&id, id.clone());
            Outgoing::to_topic(this.names.input.clone(), message)
        });
        let publisher = Publisher::new(Arc::new(this.plain()));
        publisher.publish_all(&Context::background(), messages).await.unwrap();
        this
    }

    fn plain(&self) -> Kafka {
        Kafka::new(&self.cluster.bootstrap_servers())
            .unwrap()
            .retry_steps(&[STEP])
            .consumer_property("session.timeout.ms", "6000")
            .consumer_property("heartbeat.interval.ms", "300")
    }

    fn often(&self) -> Kafka {
        let interval = Duration::from_millis(10);
        self.plain().transactional(&self.names.id).commit_every(interval, usize::MAX)
    }

    fn coordinator_takes(&self, time: Duration) {
        self.cluster.broker_round_trip_time(COORDINATOR, time).unwrap();
    }

    /// Librdkafka hears of it within a heartbeat.
    fn forgets_members(&self) {
        // Of both groups.
        let forgotten = [Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID; 2];
        self.cluster.request_errors(Api::Heartbeat, &forgotten);
    }

    /// What was published, in its order, whether it is committed or not.
    async fn published(&self) -> Vec<String> {
        let seen = visible_at(self.cluster.bootstrap_servers(), &self.names.output).await;
        seen.into_keys().collect()
    }
}

/// All that a source has: a partition of each of its groups.
async fn lost(source: &mut dyn Source) {
    let losing = async {
        let mut lost = 0;
        while lost < 2 {
            let mut events = Vec::new();
            source.next(&mut events).await.unwrap();
            let lanes = events.iter().map(|event| match event {
                Event::Lost(lanes) => lanes.len(),
                _ => 0,
            });
            lost += lanes.sum::<usize>();
        }
    };
    tokio::time::timeout(LONG, losing).await.expect("partitions to be lost");
}

/// A property has to be set to less.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_for_transactions_that_the_broker_does_not_take_is_permanent() {
    let mock = Mock::with(0).await;
    let refused = [Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT; 5];
    mock.cluster.request_errors(Api::InitProducerId, &refused);
    let (broker, subscription) = (mock.often(), mock.names.subscription());
    let ctx = Context::background();
    let opening = broker.source(&ctx, &subscription);
    let error = tokio::time::timeout(LONG, opening).await.expect("an answer").err().unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_of_partitions_that_were_lost() {
    let mock = Mock::with(2).await;
    let broker = mock.often().commit_every(Duration::from_secs(3_600), usize::MAX);
    let mut source = open(&broker, &mock.names.subscription()).await;
    let deliveries = receive(&mut *source, 2).await;
    emit(&broker, &mock.names.outcome(&deliveries[0])).await;
    settle(&mut *source, &deliveries[..1], Verdict::Ack).await;
    mock.forgets_members();
    lost(&mut *source).await;

    let late = send(&broker, &mock.names.outcome(&deliveries[1])).await;
    assert!(matches!(late, PublishOutcome::Nacked), "{late:?}");
    let settled = source.settle(&[(deliveries[1].token, Verdict::Ack)]).await.unwrap();
    assert_eq!(settled.lost, [deliveries[1].token]);
    close(source).await;
    assert_eq!(mock.published().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_published_when_partitions_are_lost_while_a_transaction_is_under_way() {
    let mock = Mock::with(2).await;
    let broker = mock.often();
    let mut source = open(&broker, &mock.names.subscription()).await;
    let deliveries = receive(&mut *source, 2).await;
    mock.coordinator_takes(SLOW);
    emit(&broker, &mock.names.outcome(&deliveries[0])).await;
    settle(&mut *source, &deliveries[..1], Verdict::Ack).await;
    let half_way = async { while mock.published().await != ["0"] {} };
    tokio::time::timeout(LONG, half_way).await.unwrap();

    emit(&broker, &mock.names.outcome(&deliveries[1])).await;
    settle(&mut *source, &deliveries[1..], Verdict::Ack).await;
    let ctx = Context::background();
    let closing = async {
        tokio::task::yield_now().await;
        mock.forgets_members();
    };
    let (closed, ()) = tokio::join!(source.close(&ctx), closing);
    let error = closed.unwrap_err().to_string();
    assert!(error.contains("lost"), "{error}");
    assert_eq!(mock.published().await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_not_read_far_ahead_of_a_transaction_that_takes_long() {
    const GAP: usize = 10;
    let mock = Mock::with(60).await;
    let broker = mock.often().longest_gap(GAP);
    let mut source = open(&broker, &mock.names.subscription()).await;
    let mut deliveries = receive(&mut *source, 1).await;
    mock.coordinator_takes(SLOW);
    let mut handled = 0;
    // As much as is in the transaction, and as much again.
    while deliveries.len() + handled <= 2 * GAP {
        for delivery in &deliveries {
            emit(&broker, &mock.names.outcome(delivery)).await;
        }
        settle(&mut *source, &deliveries, Verdict::Ack).await;
        handled += deliveries.len();
        deliveries.clear();
        let next = tokio::time::timeout(SLOW, receive(&mut *source, 1)).await;
        let Ok(next) = next else { break };
        deliveries = next;
    }
    assert!((GAP..=2 * GAP).contains(&handled), "{handled}");
    mock.coordinator_takes(Duration::ZERO);
    let mut rest = receive(&mut *source, 1).await;
    while handled + rest.len() < 60 {
        for delivery in &rest {
            emit(&broker, &mock.names.outcome(delivery)).await;
        }
        settle(&mut *source, &rest, Verdict::Ack).await;
        handled += rest.len();
        rest = receive(&mut *source, 1).await;
    }
}
