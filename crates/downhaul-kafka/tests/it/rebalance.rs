//! Partitions that move between the members of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, Delivery, Event, Incoming, Lane, Message, Source, Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use downhaul_testkit::oracle::{self, Oracle, Promises};
use downhaul_testkit::proxy::Direction;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use tokio::task::JoinHandle;

use crate::heard::Heard;
use crate::support::{
    Foreigner, Mock, OwnBroker, all, close, mock, nothing, numbers, session, settle, shared_broker,
    soon, source, spawn, subscription, take, text, texts, until,
};

const PARTITIONS: i32 = 4;

/// A group of one, which has read all that there is.
pub(crate) struct Group {
    broker: Arc<Kafka>,
    pub(crate) foreigner: Foreigner,
    pub(crate) subscription: Subscription,
    pub(crate) first: Box<dyn Source>,
    pub(crate) heard: Heard,
}

impl Group {
    /// With so many messages in each partition, as [`append`] does it.
    pub(crate) async fn of(broker: Kafka, name: &str, each: u32) -> Self {
        let (foreigner, subscription) = (Foreigner::shared(), subscription(name));
        let subscription = subscription.with_prefetch(100);
        foreigner.make(&[subscription.queue()], PARTITIONS).await;
        append(&foreigner, subscription.queue(), 0..each).await;
        Self::reading(broker, foreigner, subscription, PARTITIONS as usize * each as usize).await
    }

    /// With one message, of a group in which all of it moves when a member joins.
    pub(crate) async fn on_a_mock(name: &str) -> (Mock, Self) {
        let subscription = subscription(name);
        let (mock, kafka) = mock(1, &subscription, 2);
        let kafka = kafka.consumer_property("partition.assignment.strategy", "range");
        let foreigner = Foreigner::at(&mock.bootstrap_servers());
        foreigner.append(subscription.queue(), 0, ["0/0"]).await;
        (mock, Self::reading(kafka, foreigner, subscription, 1).await)
    }

    async fn reading(
        broker: Kafka,
        foreigner: Foreigner,
        subscription: Subscription,
        count: usize,
    ) -> Self {
        let mut first = source(&broker, &subscription).await;
        let mut heard = Heard::default();
        heard.until(&mut *first, "all", |heard| heard.deliveries.len() == count).await;
        Self { broker: Arc::new(broker), foreigner, subscription, first, heard }
    }

    /// Another member joins. Returns it, and the partitions with deliveries that are asked for.
    pub(crate) async fn is_joined(&mut self) -> (JoinHandle<Box<dyn Source>>, BTreeSet<i32>) {
        let (kafka, subscription) = (Arc::clone(&self.broker), self.subscription.clone());
        let second = tokio::spawn(async move { source(&*kafka, &subscription).await });
        (second, asked_for(&mut *self.first, &mut self.heard).await)
    }
}

/// The texts of deliveries by the partition that they were appended to, which they begin with.
pub(crate) fn by_partition(deliveries: &[Delivery]) -> BTreeMap<i32, Vec<String>> {
    let mut map: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for text in texts(deliveries) {
        let partition = text.split_once('/').unwrap().0.parse().unwrap();
        map.entry(partition).or_default().push(text);
    }
    map
}

pub(crate) fn partition_of(delivery: &Delivery) -> i32 {
    text(&delivery.message).split_once('/').unwrap().0.parse().unwrap()
}

/// Appends so many to each partition, as `partition/number`.
async fn append(foreigner: &Foreigner, topic: &str, range: std::ops::Range<u32>) {
    for partition in 0..PARTITIONS {
        let texts = range.clone().map(|number| format!("{partition}/{number}"));
        foreigner.append(topic, partition, texts).await;
    }
}

/// Waits until lanes with deliveries are asked for, and returns their partitions.
async fn asked_for(source: &mut dyn Source, heard: &mut Heard) -> BTreeSet<i32> {
    let lanes_of = |heard: &Heard| -> BTreeSet<Lane> {
        heard.revoking.iter().flat_map(|revoking| revoking.lanes().to_vec()).collect()
    };
    let has_some = |heard: &Heard| {
        let lanes = lanes_of(heard);
        heard.deliveries.iter().any(|delivery| lanes.contains(&delivery.lane))
    };
    heard.until(source, "lanes are asked for", has_some).await;
    let lanes = lanes_of(heard);
    let asked = heard.deliveries.iter().filter(|delivery| lanes.contains(&delivery.lane));
    asked.map(partition_of).collect()
}

/// While they are waited for, what is begun of the others is finished and committed as always; all
/// reading waits, which is librdkafka's rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_move_are_finished_and_committed_and_begin_right_there_at_the_other() {
    let mut group = Group::of(shared_broker(), "moving", 3).await;
    let (second, asked) = group.is_joined().await;
    let Group { foreigner, subscription, mut first, mut heard, .. } = group;
    let topic = subscription.queue();
    assert!(!asked.is_empty() && asked.len() < PARTITIONS as usize, "{asked:?}");
    let (goes, stays): (Vec<_>, Vec<_>) = std::mem::take(&mut heard.deliveries)
        .into_iter()
        .partition(|delivery| asked.contains(&partition_of(delivery)));
    assert_eq!(settle(&mut *first, &all(&stays, Verdict::Ack)).await, []);
    until("what stays is committed", async || {
        let committed = foreigner.committed(topic, topic, PARTITIONS).await;
        let kept: Vec<_> = committed.values().filter(|offset| **offset == 3).collect();
        kept.len() == PARTITIONS as usize - asked.len()
    })
    .await;
    append(&foreigner, topic, 3..4).await;
    // Two of three of what goes.
    let (finished, left): (Vec<_>, Vec<_>) =
        goes.into_iter().partition(|delivery| !text(&delivery.message).ends_with("/2"));
    assert_eq!(settle(&mut *first, &all(&finished, Verdict::Ack)).await, []);
    // What is given back is for the other.
    assert_eq!(settle(&mut *first, &all(&left, Verdict::Release)).await, []);
    nothing(&mut *first, Duration::from_millis(200)).await;
    heard.revoking.clear();

    let what = "the other has what was asked for";
    let mut rest = Heard::default();
    let mut second = soon(what, second).await.unwrap();
    rest.until(&mut *second, what, |rest| rest.deliveries.len() >= 2 * asked.len()).await;
    for (partition, texts) in by_partition(&rest.deliveries) {
        assert!(asked.contains(&partition), "{partition} stayed");
        assert_eq!(texts, [format!("{partition}/2"), format!("{partition}/3")]);
    }
    let kept = PARTITIONS as usize - asked.len();
    heard.until(&mut *first, "what stays", |heard| heard.deliveries.len() == kept).await;
    for (partition, texts) in by_partition(&heard.deliveries) {
        assert!(!asked.contains(&partition), "{partition} went");
        assert_eq!(texts, [format!("{partition}/3")]);
    }
    assert_eq!(heard.lost, [], "they went as they should");
    // And what was not finished is not the first one's any more.
    let tokens: Vec<_> = left.iter().map(|delivery| delivery.token).collect();
    assert_eq!(settle(&mut *first, &all(&left, Verdict::Ack)).await, tokens);
    close(first).await;
    let committed = foreigner.committed(topic, topic, PARTITIONS).await;
    for partition in 0..PARTITIONS {
        let wanted = if asked.contains(&partition) { 2 } else { 3 };
        assert_eq!(committed[&partition], wanted, "partition {partition}: {committed:?}");
    }
    close(second).await;
}

/// And somebody else begins with it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_finished_in_the_revoke_budget_is_lost() {
    let broker = shared_broker().revoke_budget(Duration::from_millis(300));
    let mut group = Group::of(broker, "budget", 2).await;
    let begun = group.heard.deliveries.iter();
    let begun = begun.filter(|delivery| text(&delivery.message).ends_with("/0"));
    let begun: Vec<_> = begun.cloned().collect();
    assert_eq!(settle(&mut *group.first, &all(&begun, Verdict::Ack)).await, []);
    let (second, asked) = group.is_joined().await;
    let Group { foreigner, subscription, mut first, mut heard, .. } = group;
    let topic = subscription.queue();
    // Not let go of.
    let asked_lanes: BTreeSet<_> =
        heard.revoking.iter().flat_map(|revoking| revoking.lanes().to_vec()).collect();
    let is_lost = |heard: &Heard| asked_lanes.iter().all(|lane| heard.lost.contains(lane));
    heard.until(&mut *first, "they are lost", is_lost).await;
    let (gone, stayed): (Vec<_>, Vec<_>) = heard
        .deliveries
        .iter()
        .filter(|one| text(&one.message).ends_with("/1"))
        .cloned()
        .partition(|one| asked.contains(&partition_of(one)));
    let tokens: Vec<_> = gone.iter().map(|delivery| delivery.token).collect();
    assert_eq!(settle(&mut *first, &all(&gone, Verdict::Ack)).await, tokens);
    assert_eq!(settle(&mut *first, &all(&stayed, Verdict::Ack)).await, []);
    let mut second = soon("the other", second).await.unwrap();
    let again = take(&mut *second, asked.len()).await;
    let again: BTreeSet<_> = texts(&again).into_iter().collect();
    let wanted: BTreeSet<_> = asked.iter().map(|partition| format!("{partition}/1")).collect();
    assert_eq!(again, wanted);
    close(first).await;
    let committed = foreigner.committed(topic, topic, PARTITIONS).await;
    for partition in 0..PARTITIONS {
        let wanted = if asked.contains(&partition) { 1 } else { 2 };
        assert_eq!(committed[&partition], wanted, "partition {partition}: {committed:?}");
    }
    close(second).await;
}

/// As after a long pause of the process or a long break of its link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_cut_off_for_longer_than_the_session_has_lost_all_and_commits_nothing() {
    let test = "who_was_cut_off_for_longer_than_the_session_has_lost_all_and_commits_nothing";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let behind = own.kafka();
    let straight = Foreigner::at(&own.broker.bootstrap());
    let subscription = subscription("cut-off");
    let topic = subscription.queue();
    straight.make(&[topic], 1).await;
    straight.append(topic, 0, 0..4).await;
    let mut source = source(&behind, &subscription).await;
    let deliveries = take(&mut *source, 4).await;
    settle(&mut *source, &all(&deliveries[..1], Verdict::Ack)).await;
    until("the commit", async || straight.committed_of(&subscription).await == Some(1)).await;
    own.proxy.blackhole(Direction::Both);
    let cut_off = tokio::time::Instant::now();
    // Nothing that was finished while it was cut off can be committed before it knows.
    let lane = deliveries[0].lane;
    let is_lost = |event: &Event| matches!(event, Event::Lost(lanes) if lanes.contains(&lane));
    let mut events = Vec::new();
    let ended = loop {
        match soon("it is noticed", source.next(&mut events)).await {
            Ok(()) if events.iter().any(is_lost) => break "lost",
            Ok(()) => events.clear(),
            Err(error) => {
                assert!(!error.is_permanent(), "{error}");
                break "dead";
            }
        }
    };
    assert!(cut_off.elapsed() < 2 * session(), "{:?}", cut_off.elapsed());
    if ended == "lost" {
        let tokens: Vec<_> = deliveries[1..].iter().map(|delivery| delivery.token).collect();
        assert_eq!(settle(&mut *source, &all(&deliveries[1..], Verdict::Ack)).await, tokens);
    }
    own.proxy.heal();
    drop(source);
    let mut heir = crate::support::source(&behind, &subscription).await;
    assert_eq!(texts(&take(&mut *heir, 3).await), numbers(1..4));
    assert_eq!(straight.committed_of(&subscription).await, Some(1));
    close(heir).await;
}

/// A member whom the group does not know any more learns that by its next heartbeat.
async fn is_expelled(error: Code) {
    let subscription = subscription("expelled");
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..3).await;
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 3).await;
    settle(&mut *source, &all(&deliveries[..1], Verdict::Ack)).await;
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(1)).await;
    expel(&mock, error);
    let (mut heard, lane) = (Heard::default(), deliveries[0].lane);
    heard.until(&mut *source, "it is lost", |heard| heard.lost.contains(&lane)).await;
    let tokens: Vec<_> = deliveries[1..].iter().map(|delivery| delivery.token).collect();
    assert_eq!(settle(&mut *source, &all(&deliveries[1..], Verdict::Ack)).await, tokens);
    assert_eq!(foreigner.committed_of(&subscription).await, Some(1));
    // It joins again by itself, and begins where it was.
    let is_back = |heard: &Heard| heard.deliveries.len() >= 2;
    heard.until(&mut *source, "it is back", is_back).await;
    assert_eq!(texts(&heard.deliveries), numbers(1..3));
    assert!(heard.deliveries.iter().all(|again| again.lane != deliveries[0].lane));
    assert_eq!(settle(&mut *source, &all(&heard.deliveries, Verdict::Ack)).await, []);
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(3)).await;
    close(source).await;
}

/// It goes on with what it has read until it hears that its session is over, which on a busy
/// machine happens while all links live. So no link explains what comes again, and there may be any
/// number of it; the client itself says that the lanes are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_member_finished_and_could_not_commit_comes_again_for_a_known_cause() {
    const COUNT: u64 = 1_000;
    let subscription = subscription("unheard");
    let (mock, kafka) = mock(1, &subscription, 1);
    let (oracle, late) = (Oracle::new(), Duration::from_secs(60));
    let refused = Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE;
    mock.request_errors(Api::OffsetCommit, &[refused; 1_000]);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..COUNT).await;
    let broker = oracle.overhear("one", Arc::new(kafka), late);
    let handler = oracle.observe("one", async |_: Context, _: Incoming<Message>| {});
    let consumer = spawn(Consumer::new(subscription.clone(), handler), broker).await;
    soon("all are handled", oracle.until_done(COUNT)).await;
    expel(&mock, Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    soon("all are handled again", oracle.until_done(2 * COUNT)).await;
    mock.clear_request_errors(Api::OffsetCommit);
    consumer.drain();
    soon("it stops", consumer.settled()).await;
    let report = oracle.check(&Promises::default());
    assert_eq!(report.of(oracle::Kind::Duplicate).count(), 0, "{report}");
    assert_eq!(report.summary.after_causes, 1_000);
    assert_eq!(foreigner.committed_of(&subscription).await, Some(1_000));
}

/// From both of its groups.
pub(crate) fn expel(mock: &Mock, error: Code) {
    mock.request_errors(Api::Heartbeat, &[error; 2]);
}

#[tokio::test]
async fn a_member_that_is_unknown_has_lost_its_lanes_and_joins_again() {
    is_expelled(Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID).await;
}

#[tokio::test]
async fn a_member_of_an_older_generation_has_lost_its_lanes_and_joins_again() {
    is_expelled(Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION).await;
}

/// What was settled of it comes again, and that is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_whose_last_commit_fails_is_lost() {
    let (mock, mut group) = Group::on_a_mock("uncommitted").await;
    let (second, _) = group.is_joined().await;
    let Group { mut first, mut heard, .. } = group;
    mock.request_errors(
        Api::OffsetCommit,
        &[Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE; 20],
    );
    assert_eq!(settle(&mut *first, &all(&heard.deliveries, Verdict::Ack)).await, []);
    let (asked, lane) = (std::mem::take(&mut heard.revoking), heard.deliveries[0].lane);
    assert!(asked.iter().any(|revoking| revoking.lanes().contains(&lane)));
    drop(asked);
    heard.until(&mut *first, "it is lost", |heard| heard.lost.contains(&lane)).await;
    mock.clear_request_errors(Api::OffsetCommit);
    drop((first, second));
}

/// The strategy that all clients know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eager_groups_finish_and_commit_all_before_they_share_anew() {
    let eager = shared_broker().consumer_property("partition.assignment.strategy", "range");
    let mut group = Group::of(eager, "eager", 3).await;
    let (second, asked) = group.is_joined().await;
    let Group { broker, mut first, mut heard, .. } = group;
    assert_eq!(asked.len(), PARTITIONS as usize);
    let finished: Vec<_> = heard
        .deliveries
        .iter()
        .filter(|delivery| !text(&delivery.message).ends_with("/2"))
        .cloned()
        .collect();
    assert_eq!(settle(&mut *first, &all(&finished, Verdict::Ack)).await, []);
    heard.deliveries.clear();
    let mut second = heard.giving(&mut *first, second).await;
    let mut rest = Heard::default();
    let both = async {
        heard.until(&mut *first, "its share", |heard| !heard.deliveries.is_empty()).await;
        rest.until(&mut *second, "its share", |rest| !rest.deliveries.is_empty()).await;
    };
    both.await;
    let ctx = Context::background();
    let rest_of = |heard: &Heard| PARTITIONS as usize - heard.deliveries.len();
    heard.until(&mut *first, "half", |heard| heard.deliveries.len() >= 2).await;
    rest.until(&mut *second, "half", |rest| rest.deliveries.len() >= 2).await;
    assert_eq!((rest_of(&heard), rest_of(&rest)), (2, 2), "each has half, and nothing twice");
    for delivery in heard.deliveries.iter().chain(&rest.deliveries) {
        assert!(text(&delivery.message).ends_with("/2"), "{}", text(&delivery.message));
    }
    assert_eq!((heard.lost, rest.lost), (vec![], vec![]));
    broker.close(&ctx).await;
}
