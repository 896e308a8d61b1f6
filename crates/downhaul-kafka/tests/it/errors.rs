//! What goes wrong, and how it is told: typed, at once, on one line.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind as Kind, Consumer, Message, Outgoing, State, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use downhaul_testkit::kafka::shared;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use tokio::time::Instant;

use crate::capture::Capture;
use crate::heard::Heard;
use crate::support::{
    Foreigner, all, close, kafka, mock, opening, publish, settle, sink, soon, source, spawn,
    subscription, take, telling, until,
};

fn nobodys_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn who_gives_the_cluster_all_the_time_there_is_hears_at_once_that_nobody_listens() {
    let kafka = kafka(&nobodys_address()).connect_timeout(Duration::MAX);
    assert_eq!(opening(&kafka, &subscription("patient")).await.kind(), Kind::Unreachable);
}

/// Long before the time that the cluster may take.
#[tokio::test]
async fn where_nobody_listens_is_unreachable_at_once() {
    let address = nobodys_address();
    let kafka = kafka(&address).connect_timeout(Duration::from_secs(30));
    let since = Instant::now();
    let error = opening(&kafka, &subscription("nobody")).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(error.kind(), Kind::Unreachable);
    let chain = error.chain();
    assert!(chain.contains(&address) && chain.contains("refused"), "{chain}");
    // And nobody gets to publish.
    let opened = soon("it fails", kafka.sink(&Context::background())).await;
    assert_eq!(opened.unwrap_err().kind(), Kind::Unreachable);
}

/// It accepts and says nothing.
#[tokio::test]
async fn who_does_not_answer_is_unreachable_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let kafka = kafka(&address).connect_timeout(Duration::from_secs(1));
    let since = Instant::now();
    let error = opening(&kafka, &subscription("mute")).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // Or earlier, when the caller gives up.
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let error = soon("it gives up", kafka.source(&ctx, &subscription("mute"))).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    drop(listener);
}

/// Whoever waits for a broker that does not answer is not waited for.
#[tokio::test]
async fn nothing_opens_after_the_broker_was_closed_in_the_middle_of_connecting() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let kafka = Arc::new(kafka(&address).connect_timeout(Duration::from_secs(3_600)));
    let (subscription, ctx) = (subscription("closed"), Context::background());
    let opening = async {
        let ends = tokio::join!(kafka.source(&ctx, &subscription), kafka.sink(&ctx));
        [ends.0.err().unwrap(), ends.1.err().unwrap()]
    };
    let closing = async {
        let _held = silent.accept().await.unwrap();
        kafka.close(&ctx).await;
    };
    let (errors, ()) = soon("they end", async { tokio::join!(opening, closing) }).await;
    assert!(errors.iter().all(|error| error.kind() == Kind::Closed), "{errors:?}");
}

#[tokio::test]
async fn a_topic_that_there_is_not_is_told_by_its_name_and_what_to_do() {
    let kafka = Kafka::new(&shared()).unwrap();
    let subscription = subscription("unknown");
    let error = opening(&kafka, &subscription).await;
    assert_eq!(error.kind(), Kind::Configuration, "{error}");
    let words = error.to_string();
    assert!(words.contains(subscription.queue()) && words.contains("create_topics"), "{words}");
    // And nothing was made by asking.
    let error = opening(&kafka, &subscription).await;
    assert_eq!(error.kind(), Kind::Configuration, "{error}");
}

#[tokio::test]
async fn a_property_that_is_wrong_or_ours_is_told_by_its_name_and_never_by_its_value() {
    let wrong = [
        ("no.such.property", "hush"),
        ("session.timeout.ms", "hush"),
        ("security.protocol", "hush"),
        ("group.id", "hush"),
        ("bootstrap.servers", "hush"),
        ("enable.auto.commit", "hush"),
        ("transactional.id", "hush"),
    ];
    for (name, value) in wrong {
        let kafka = kafka("127.0.0.1:1").property(name, value);
        let error = opening(&kafka, &subscription("wrong")).await;
        assert_eq!(error.kind(), Kind::Configuration, "{error}");
        let words = error.chain();
        assert!(words.contains(name) && !words.contains(value), "{words}");
        let error = kafka.sink(&Context::background()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration, "{error}");
        assert!(error.to_string().contains(name) && !error.chain().contains(value), "{error}");
    }
    // One that is for the others does no harm.
    let kafka = kafka(&nobodys_address())
        .consumer_property("fetch.min.bytes", "1")
        .producer_property("fetch.min.bytes", "hush");
    assert_eq!(opening(&kafka, &subscription("right")).await.kind(), Kind::Unreachable);
}

/// A broker that has just begun does not know all topics.
#[tokio::test]
async fn a_topic_that_is_there_after_a_while_is_no_wrong_configuration() {
    let subscription = subscription("late");
    let (mock, kafka) = mock(1, &subscription, 1);
    let topic = subscription.queue();
    let is_unknown = Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    mock.topic_error(topic, is_unknown).unwrap();
    let log = Capture::start();
    let making = async {
        until("a look in vain", async || log.says("no such topic yet")).await;
        mock.topic_error(topic, Code::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    };
    let (source, ()) = tokio::join!(source(&kafka, &subscription), making);
    close(source).await;
}

/// They go, as a rule: a service that is being replaced by this one.
#[tokio::test]
async fn a_group_whose_members_share_in_another_way_is_told_of_and_tried_again() {
    let subscription = subscription("replacing");
    let (mock, kafka) = mock(1, &subscription, 1);
    let theirs = Code::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL;
    mock.request_errors(Api::JoinGroup, &[theirs]);
    let error = opening(&kafka, &subscription).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("partition.assignment.strategy"), "{error}");
    assert!(error.to_string().contains(subscription.queue()), "{error}");
    close(source(&kafka, &subscription).await).await;
}

/// As it is where a queue is bound to one twice.
#[tokio::test]
async fn a_topic_that_is_named_twice_is_read_once() {
    let subscription = subscription("twice");
    let (mock, kafka) = mock(1, &subscription, 1);
    let topic = subscription.queue().to_owned();
    Foreigner::at(&mock.bootstrap_servers()).append(&topic, 0, 0..1).await;
    let mut source = source(&kafka, &subscription.topic(topic)).await;
    let deliveries = take(&mut *source, 1).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}

/// Neither is mended by trying again.
#[tokio::test]
async fn a_group_or_a_topic_that_may_not_be_used_is_permanent() {
    let subscription = subscription("denied");
    let (mock, kafka) = mock(1, &subscription, 1);
    let group = Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    for api in [Api::FindCoordinator, Api::JoinGroup] {
        mock.request_errors(api, &[group; 20]);
        let error = opening(&kafka, &subscription).await;
        assert_eq!(error.kind(), Kind::Configuration, "{api:?}: {error}");
        // Or that of its retries, which takes rights of its own.
        assert!(error.to_string().contains(subscription.queue()), "{error}");
        mock.clear_request_errors(api);
    }
    let denied = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.topic_error(subscription.queue(), denied).unwrap();
    let error = opening(&kafka, &subscription).await;
    assert_eq!(error.kind(), Kind::Configuration, "{error}");
    assert!(error.to_string().contains(subscription.queue()), "{error}");
    let sink = sink(&kafka).await;
    let outgoing = Outgoing::to_topic(subscription.queue(), Message::new("x"));
    let error = soon("it fails", sink.send(&outgoing)).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Configuration, "{error}");
}

/// It was tried again and again without a word.
#[tokio::test]
async fn a_session_that_the_broker_does_not_take_is_permanent() {
    let subscription = subscription("session");
    let (mock, kafka) = mock(1, &subscription, 1);
    let refused = Code::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT;
    mock.request_errors(Api::JoinGroup, &[refused; 20]);
    let error = opening(&kafka, &subscription).await;
    assert_eq!(error.kind(), Kind::Configuration, "{error}");
}

/// And so it is when it was allowed at first.
#[tokio::test]
async fn a_consumer_whose_group_is_taken_away_fails_for_good() {
    let subscription = subscription("taken-away");
    let (mock, kafka) = mock(1, &subscription, 1);
    let (handler, _told) = telling();
    let consumer = spawn(Consumer::new(subscription, handler), Arc::new(kafka)).await;
    // A member without heartbeats gives up after its session, and asks to join again.
    let denied = [Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 200];
    mock.request_errors(Api::Heartbeat, &denied);
    mock.request_errors(Api::JoinGroup, &denied);
    let failed = consumer.wait_for(|status| status.state == State::Failed);
    let status = soon("it fails", failed).await.unwrap();
    let failure = status.failure.unwrap();
    assert!(failure.to_lowercase().contains("group"), "{failure}");
}

/// Whatever a broker says of joining that is over in a while.
#[tokio::test]
async fn what_a_broker_stumbles_over_while_a_member_joins_is_tried_again() {
    let subscription = subscription("stumbling");
    let (mock, kafka) = mock(1, &subscription, 1);
    let soft = [
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    ];
    mock.request_errors(Api::JoinGroup, &soft[1..]);
    mock.request_errors(Api::FindCoordinator, &soft[..1]);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 1).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
    assert_eq!(foreigner.committed_of(&subscription).await, Some(1));
}

/// It is made again, as nothing more has to be finished for it.
#[tokio::test]
async fn a_commit_that_fails_is_made_again() {
    let subscription = subscription("commit");
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..2).await;
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 2).await;
    // Of an error of another kind librdkafka makes more, and the lane may be lost.
    let error = Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE;
    mock.request_errors(Api::OffsetCommit, &[error; 3]);
    settle(&mut *source, &all(&deliveries[..1], Verdict::Ack)).await;
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(1)).await;
    // The last one as well, as long as the group is being shared anew; else it is told.
    mock.request_errors(Api::OffsetCommit, &[Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    settle(&mut *source, &all(&deliveries[1..2], Verdict::Ack)).await;
    close(source).await;
    assert_eq!(foreigner.committed_of(&subscription).await, Some(2));
    let mut source = crate::support::source(&kafka, &subscription).await;
    foreigner.append(subscription.queue(), 0, 2..3).await;
    let deliveries = take(&mut *source, 1).await;
    mock.request_errors(
        Api::OffsetCommit,
        &[Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 9],
    );
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    let closed = soon("it closes", source.close(&Context::background())).await;
    assert!(closed.is_err(), "it is not committed");
    mock.clear_request_errors(Api::OffsetCommit);
    assert_eq!(foreigner.committed_of(&subscription).await, Some(2));
}

/// The partition has a new leader, which has all of it.
#[tokio::test]
async fn a_partition_whose_leader_changes_or_dies_goes_on() {
    let subscription = subscription("leader");
    let (mock, kafka) = mock(3, &subscription, 1);
    let topic = subscription.queue();
    mock.partition_leader(topic, 0, Some(1)).unwrap();
    mock.coordinator(rdkafka::mocking::MockCoordinator::Group(topic.to_owned()), 3).unwrap();
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    let mut source = source(&kafka, &subscription).await;
    let sink = sink(&kafka).await;
    let mut heard = Heard::default();
    for (count, leader) in [(1, 2), (2, 1), (3, 2)] {
        let outgoing = Outgoing::to_topic(topic, Message::new(format!("{count}")));
        let outcome = publish(&*sink, &outgoing).await;
        assert!(matches!(outcome, downhaul_consumer::PublishOutcome::Confirmed), "{outcome:?}");
        heard.until(&mut *source, "the next", |heard| heard.deliveries.len() == count).await;
        mock.partition_leader(topic, 0, Some(leader)).unwrap();
    }
    mock.broker_down(1).unwrap();
    foreigner.append(topic, 0, 4..5).await;
    heard.until(&mut *source, "the next", |heard| heard.deliveries.len() == 4).await;
    assert_eq!(settle(&mut *source, &all(&heard.deliveries, Verdict::Ack)).await, []);
    mock.broker_up(1).unwrap();
    close(source).await;
    assert_eq!(foreigner.committed_of(&subscription).await, Some(4));
}

/// It outlives a break that is shorter than the session, and dies of a longer one.
#[tokio::test]
async fn a_source_that_reaches_no_broker_for_a_session_is_dead() {
    let subscription = subscription("dark");
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    let mut source = source(&kafka, &subscription).await;
    foreigner.append(subscription.queue(), 0, 0..1).await;
    let before = take(&mut *source, 1).await;
    settle(&mut *source, &all(&before, Verdict::Ack)).await;
    mock.broker_down(-1).unwrap();
    // tidy: a break that is to be outlived
    tokio::time::sleep(Duration::from_millis(700)).await;
    mock.broker_up(-1).unwrap();
    foreigner.append(subscription.queue(), 0, 1..2).await;
    let after = take(&mut *source, 1).await;
    settle(&mut *source, &all(&after, Verdict::Ack)).await;
    let name = subscription.queue();
    let committed = async || foreigner.committed(name, name, 1).await.get(&0) == Some(&2);
    until("the commit", committed).await;
    mock.broker_down(-1).unwrap();
    let down = Instant::now();
    let mut events = Vec::new();
    let error = loop {
        match soon("it dies", source.next(&mut events)).await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    let (words, since) = (error.to_string(), down.elapsed());
    assert!(words.contains(&mock.bootstrap_servers()) && words.contains("refused"), "{words}");
    assert!(since > Duration::from_secs(3) && since < Duration::from_secs(12), "{since:?}");
    drop(source);
}
