//! Publishing: what a receipt says is so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Message, Outgoing, PublishErrorKind, PublishOutcome, Publisher,
};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use downhaul_testkit::proxy::{Cut, Direction, Proxy};
use downhaul_testkit::unique;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use tokio::time::Instant;

use crate::capture::Capture;
use crate::support::{
    Foreigner, OwnBroker, mock, opening, publish, shared_broker, sink, soon, subscription, until,
    within,
};

fn keyed(topic: &str, key: usize, number: usize) -> Outgoing {
    let message = Message::new(format!("{key}/{number}")).with_key(format!("key-{key}"));
    Outgoing::to_topic(topic, message)
}

/// And every message is there once, those of a key in their order.
#[tokio::test]
async fn each_of_many_receipts_under_way_resolves() {
    const COUNT: usize = 20_000;
    let (broker, foreigner, topic) = (shared_broker(), Foreigner::shared(), unique("many"));
    foreigner.make(&[&topic], 4).await;
    let sink = sink(&broker).await;
    let sending = async {
        let mut receipts = Vec::with_capacity(COUNT);
        for number in 0..COUNT {
            receipts.push(sink.send(&keyed(&topic, number % 7, number)).await.unwrap());
        }
        receipts
    };
    for receipt in soon("all sends", sending).await {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    are_in_order(&foreigner, &topic, COUNT).await;
}

/// Asserts that a topic has so many records, and those of a key in their order.
async fn are_in_order(foreigner: &Foreigner, topic: &str, count: usize) {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for raw in foreigner.read(topic, count).await {
        let text = String::from_utf8(raw.value.unwrap()).unwrap();
        let (key, number) = text.split_once('/').unwrap();
        let number = number.parse().unwrap();
        let before = last.insert(key.to_owned(), number);
        assert!(before.is_none_or(|before| before < number), "{key}: {number} after {before:?}");
    }
}

/// It waits for room.
#[tokio::test]
async fn a_full_queue_of_librdkafka_loses_nothing() {
    const COUNT: usize = 3_000;
    let broker = shared_broker().producer_property("queue.buffering.max.messages", "10");
    let (foreigner, topic) = (Foreigner::shared(), unique("full"));
    foreigner.make(&[&topic], 1).await;
    let sink = sink(&broker).await;
    let sending = async {
        let mut receipts = Vec::with_capacity(COUNT);
        for number in 0..COUNT {
            receipts.push(sink.send(&keyed(&topic, 0, number)).await.unwrap());
        }
        receipts
    };
    for receipt in soon("all sends", sending).await {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    are_in_order(&foreigner, &topic, COUNT).await;
}

#[tokio::test]
async fn what_has_no_topic_is_returned_and_makes_none() {
    let broker = shared_broker();
    let (sink, topic) = (sink(&broker).await, unique("missing"));
    for _ in 0..2 {
        let to_topic = Outgoing::to_topic(topic.as_str(), Message::new("x"));
        let to_queue = Outgoing::to_queue(topic.as_str(), Message::new("x"));
        for outgoing in [to_topic, to_queue] {
            match publish(&*sink, &outgoing).await {
                PublishOutcome::Returned(words) => {
                    assert!(words.contains(&topic) && !words.contains('\n'), "{words}");
                }
                outcome => panic!("{outcome:?}"),
            }
        }
    }
    // Once it is there, it is found.
    Foreigner::shared().make(&[&topic], 1).await;
    let outgoing = Outgoing::to_topic(topic.as_str(), Message::new("x"));
    let outcome = publish(&*sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
}

/// Each look takes a client of its own, with its threads and its link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_publish_to_a_topic_at_once_look_for_it_once() {
    let subscription = subscription("crowded");
    let (mock, _) = mock(1, &subscription, 1);
    let proxy = Proxy::start(mock.bootstrap_servers().parse().unwrap()).unwrap();
    let broker = Kafka::new(&proxy.address().to_string()).unwrap();
    let sink = sink(&broker).await;
    let before = proxy.counts().accepted;
    for (topic, is_there) in [(subscription.queue(), true), ("missing", false)] {
        let outgoing = Outgoing::to_topic(topic, Message::new("x"));
        let publishing = (0..100).map(|_| publish(&*sink, &outgoing));
        for outcome in futures_util::future::join_all(publishing).await {
            let is_confirmed = matches!(outcome, PublishOutcome::Confirmed);
            assert_eq!(is_confirmed, is_there, "{outcome:?}");
        }
    }
    let links = proxy.counts().accepted - before;
    assert!(links < 10, "{links} links");
}

/// As brokers of a cluster hear of it, some of them a while after it was made.
#[tokio::test]
async fn a_topic_that_comes_to_be_there_while_it_is_looked_for_takes_the_message() {
    let (broker, topic) = (shared_broker(), unique("late"));
    let sink = sink(&broker).await;
    let outgoing = Outgoing::to_topic(topic.as_str(), Message::new("x"));
    let log = Capture::start();
    let making = async {
        until("a look in vain", async || log.says("no such topic yet")).await;
        Foreigner::shared().make(&[&topic], 1).await;
    };
    let (outcome, ()) = tokio::join!(publish(&*sink, &outgoing), making);
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
}

/// And not looked for again and again.
#[tokio::test]
async fn a_topic_whose_name_is_too_long_is_refused() {
    let subscription = subscription("short");
    let (_mock, broker) = mock(1, &subscription, 1);
    let long = "x".repeat(600);
    let outgoing = Outgoing::to_topic(long.as_str(), Message::new("x"));
    let error = sink(&broker).await.send(&outgoing).await.err().unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
    let error = opening(&broker, &subscription.topic(long)).await;
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_costs_only_itself() {
    let (broker, topic) = (Arc::new(shared_broker()), unique("strict"));
    Foreigner::shared().make(&[&topic], 1).await;
    let sink = sink(&*broker).await;
    let unfit = [Message::new(vec![0; 2_000_000]), Message::new("nul").with_header("a\0b", "v")];
    let publisher = Publisher::new(Arc::clone(&broker) as _);
    for message in unfit {
        let outgoing = Outgoing::to_topic(topic.as_str(), message);
        let error = sink.send(&outgoing).await.err().unwrap();
        assert_eq!(error.kind(), BrokerErrorKind::Message, "{error}");
        let error = publisher.publish(&Context::background(), outgoing).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Refused);
    }
    let outgoing = Outgoing::to_topic(topic.as_str(), Message::new("fits"));
    let outcome = publish(&*sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
}

/// Neither earlier, as it may still arrive, nor never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_its_broker_dies_is_unknown_after_the_delivery_timeout() {
    let test = "what_is_under_way_when_its_broker_dies_is_unknown_after_the_delivery_timeout";
    let Some(mut own) = OwnBroker::start(test, &[]).await else { return };
    let broker = own.kafka().producer_property("delivery.timeout.ms", "2000");
    let topic = unique("dying");
    Foreigner::at(&own.broker.bootstrap()).make(&[&topic], 1).await;
    let sink = sink(&broker).await;
    let first = publish(&*sink, &keyed(&topic, 0, 0)).await;
    assert!(matches!(first, PublishOutcome::Confirmed), "{first:?}");
    own.proxy.blackhole(Direction::ToClient);
    let mut receipts = Vec::new();
    for number in 1..50 {
        receipts.push(soon("a send", sink.send(&keyed(&topic, 0, number))).await.unwrap());
    }
    own.broker.kill();
    let killed = Instant::now();
    for receipt in receipts {
        match within(Duration::from_secs(15), "an answer", receipt).await {
            PublishOutcome::Unknown(error) => assert!(!error.is_permanent(), "{error}"),
            outcome => panic!("{outcome:?}"),
        }
    }
    assert!(killed.elapsed() >= Duration::from_millis(1_500), "{:?}", killed.elapsed());
    let closing = Instant::now();
    within(Duration::from_secs(5), "closing", sink.close(&Context::background())).await;
    assert!(closing.elapsed() < Duration::from_secs(3));
}

/// The context of closing ends first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_a_sink_closes_is_waited_for_and_then_unknown() {
    let test = "what_is_under_way_when_a_sink_closes_is_waited_for_and_then_unknown";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let (broker, topic) = (own.kafka(), unique("closing"));
    Foreigner::at(&own.broker.bootstrap()).make(&[&topic], 1).await;
    let sink = sink(&broker).await;
    let mut receipts = Vec::new();
    for number in 0..20 {
        receipts.push(soon("a send", sink.send(&keyed(&topic, 0, number))).await.unwrap());
    }
    soon("closing", sink.close(&Context::background())).await;
    for receipt in receipts {
        let outcome = within(Duration::from_millis(100), "an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    let sink = crate::support::sink(&broker).await;
    publish(&*sink, &keyed(&topic, 0, 20)).await;
    own.proxy.blackhole(Direction::Both);
    let receipt = soon("a send", sink.send(&keyed(&topic, 0, 21))).await.unwrap();
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    within(Duration::from_secs(2), "closing", sink.close(&ctx)).await;
    match within(Duration::from_secs(2), "an answer", receipt).await {
        PublishOutcome::Unknown(_) => {}
        outcome => panic!("{outcome:?}"),
    }
}

/// Whatever happens to the links, it is there once and in its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_after_a_break_is_there_once_and_in_its_order() {
    const COUNT: usize = 3_000;
    let test = "what_is_sent_again_after_a_break_is_there_once_and_in_its_order";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let (broker, topic) = (own.kafka(), unique("again"));
    let foreigner = Foreigner::at(&own.broker.bootstrap());
    foreigner.make(&[&topic], 4).await;
    let sink = sink(&broker).await;
    let mut receipts = Vec::new();
    for number in 0..COUNT {
        receipts.push(soon("a send", sink.send(&keyed(&topic, number % 5, number))).await.unwrap());
        if number % 300 == 150 {
            // So that answers are lost of what has arrived.
            own.proxy.delay(Direction::ToClient, Duration::from_millis(30));
            own.proxy.half_frame(Direction::ToUpstream, 3_000);
            // tidy: breaks that are apart
            tokio::time::sleep(Duration::from_millis(60)).await;
            own.proxy.cut(Cut::Reset);
        }
    }
    own.proxy.heal();
    for receipt in receipts {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    assert!(own.proxy.counts().ended() >= 5, "{:?}", own.proxy.counts());
    are_in_order(&foreigner, &topic, COUNT).await;
    let last = publish(&*sink, &Outgoing::to_topic(topic.as_str(), Message::new("9/9"))).await;
    assert!(matches!(last, PublishOutcome::Confirmed), "{last:?}");
    // Not one more.
    are_in_order(&foreigner, &topic, COUNT + 1).await;
}

/// Said by the broker of a record that it has not written.
#[tokio::test]
async fn what_a_broker_refuses_is_known_and_what_it_stumbles_over_is_sent_again() {
    let subscription = subscription("refused");
    let topic = subscription.queue();
    let (mock, kafka) = mock(1, &subscription, 1);
    let kafka = kafka.producer_property("enable.idempotence", "false");
    let sink = sink(&kafka).await;
    let refusals =
        [Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Code::RD_KAFKA_RESP_ERR_INVALID_RECORD];
    for refusal in refusals {
        mock.request_errors(Api::Produce, &[refusal]);
        let outcome = publish(&*sink, &keyed(topic, 0, 0)).await;
        assert!(matches!(outcome, PublishOutcome::Refused(_)), "{refusal:?}: {outcome:?}");
    }
    let stumbles = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    mock.request_errors(Api::Produce, &stumbles);
    let outcome = publish(&*sink, &keyed(topic, 0, 1)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    kafka.close(&Context::background()).await;
}

/// As it happens to a partition that was just made: the first message comes too early, and the
/// second is taken though it follows on nothing (KAFKA-15591).
#[tokio::test]
async fn what_is_said_to_be_written_by_a_later_answer_alone_is_unknown() {
    let subscription = subscription("implied");
    let topic = subscription.queue();
    let (mock, kafka) = mock(1, &subscription, 1);
    // Each has a request of its own, and both are under way.
    let kafka = kafka.producer_property("batch.num.messages", "1");
    mock.broker_round_trip_time(1, Duration::from_millis(100)).unwrap();
    mock.request_errors(Api::Produce, &[Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    let sink = sink(&kafka).await;
    let lost = soon("a send", sink.send(&keyed(topic, 0, 0))).await.unwrap();
    let written = soon("a send", sink.send(&keyed(topic, 0, 1))).await.unwrap();
    match soon("an answer", lost).await {
        PublishOutcome::Unknown(error) => assert!(!error.is_permanent(), "{error}"),
        outcome => panic!("{outcome:?}"),
    }
    let outcome = soon("an answer", written).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    kafka.close(&Context::background()).await;
}

/// Nobody says that anything is written then, and that was asked for.
#[tokio::test]
async fn who_wants_no_answers_is_told_of_what_was_sent() {
    let subscription = subscription("unanswered");
    let (_mock, kafka) = mock(1, &subscription, 1);
    let kafka =
        kafka.producer_property("enable.idempotence", "false").producer_property("acks", "0");
    let outcome = publish(&*sink(&kafka).await, &keyed(subscription.queue(), 0, 0)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    kafka.close(&Context::background()).await;
}
