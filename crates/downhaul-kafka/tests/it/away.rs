//! Brokers that are away: the consumer says so, long before its session is over, and says when they
//! are back.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Consumer, ConsumerHandle, Link};
use downhaul_kafka::Kafka;
use rdkafka::mocking::MockCoordinator;

use crate::support::{
    Foreigner, OwnBroker, mock, soon, spawn, subscription, telling, text, within,
};

/// How long it may take until it is told: a few heartbeats.
const TOLD: Duration = Duration::from_secs(10);

/// With a session that outlives all that happens here.
fn patient(kafka: Kafka) -> Kafka {
    kafka.consumer_property("session.timeout.ms", "45000")
}

async fn is_away(consumer: &ConsumerHandle) -> String {
    let is_away = |link: &Link| matches!(link, Link::Recovering { .. });
    let away = consumer.wait_for(|status| is_away(&status.link));
    match within(TOLD, "it is away", away).await.unwrap().link {
        Link::Recovering { error, .. } => error.to_string(),
        link => panic!("{link:?}"),
    }
}

async fn is_back(consumer: &ConsumerHandle) {
    let back = consumer.wait_for(|status| matches!(status.link, Link::Up));
    soon("it is back", back).await.unwrap();
}

/// Its connections stay, and it says nothing.
#[tokio::test]
async fn a_broker_that_is_frozen_is_told_in_seconds_and_so_is_that_it_goes_on() {
    let test = "a_broker_that_is_frozen_is_told_in_seconds_and_so_is_that_it_goes_on";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let (subscription, (handler, mut told)) = (subscription("frozen"), telling());
    let topic = subscription.queue().to_owned();
    let foreigner = Foreigner::at(&own.broker.bootstrap());
    foreigner.make(&[&topic], 1).await;
    let consumer = Consumer::new(subscription, handler);
    let consumer = spawn(consumer, Arc::new(patient(own.kafka()))).await;
    foreigner.append(&topic, 0, 0..1).await;
    soon("the first message", told.recv()).await.unwrap();
    own.broker.pause();
    let error = is_away(&consumer).await;
    assert!(error.contains(&own.broker.bootstrap()), "{error}");
    own.broker.resume();
    is_back(&consumer).await;
    foreigner.append(&topic, 0, 1..2).await;
    assert_eq!(text(&soon("the second message", told.recv()).await.unwrap()), "1");
    assert_eq!(consumer.tally().lost, 0);
}

#[tokio::test]
async fn a_broker_that_refuses_is_told_in_seconds_and_so_is_that_it_is_there_again() {
    let (subscription, (handler, mut told)) = (subscription("refusing"), telling());
    let topic = subscription.queue().to_owned();
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    let consumer = spawn(Consumer::new(subscription, handler), Arc::new(patient(kafka))).await;
    mock.broker_down(-1).unwrap();
    let error = is_away(&consumer).await;
    assert!(error.contains("refused"), "{error}");
    mock.broker_up(-1).unwrap();
    is_back(&consumer).await;
    foreigner.append(&topic, 0, 0..1).await;
    soon("a message", told.recv()).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_only_by_those_who_have_nobody_else() {
    let (subscription, (handler, mut told)) = (subscription("elsewhere"), telling());
    let (group, topic) = (subscription.queue().to_owned(), subscription.queue().to_owned());
    let (mock, kafka) = mock(3, &subscription, 1);
    for topic in [&topic, &format!("{group}.retry.500ms")] {
        mock.partition_leader(topic, 0, Some(1)).unwrap();
    }
    mock.coordinator(MockCoordinator::Group(group), 1).unwrap();
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    let consumer = spawn(Consumer::new(subscription, handler), Arc::new(patient(kafka))).await;
    let others = [2, 3];
    others.iter().for_each(|other| mock.broker_down(*other).unwrap());
    // tidy: longer than it takes to tell, in which nothing is told
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(matches!(consumer.status().link, Link::Up), "{:?}", consumer.status());
    foreigner.append(&topic, 0, 0..1).await;
    soon("a message", told.recv()).await.unwrap();
    // The others answer, and have nothing for it.
    others.iter().for_each(|other| mock.broker_up(*other).unwrap());
    mock.broker_down(1).unwrap();
    is_away(&consumer).await;
    mock.broker_up(1).unwrap();
    is_back(&consumer).await;
    assert_eq!(consumer.tally().lost, 0);
}
