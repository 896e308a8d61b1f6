//! What a source tells of what it could not commit, when it closes and where partitions go.

use std::time::Duration;

use downhaul_consumer::Verdict;
use downhaul_context::Context;
use downhaul_testkit::proxy::Direction;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};

use crate::capture::{Capture, Line};
use crate::heard::Heard;
use crate::rebalance::{Group, by_partition, expel, partition_of};
use crate::support::{
    Foreigner, OwnBroker, all, close, mock, nothing, session, settle, shared_broker, soon, source,
    subscription, take, text, until,
};

/// Whoever closes before it has heard of a loss must not believe that all is committed.
#[tokio::test]
async fn a_source_that_closes_when_its_lanes_are_lost_says_that_settlements_may_be_lost() {
    let subscription = subscription("unheard-of");
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..500).await;
    let mut source = source(&kafka, &subscription.with_prefetch(500)).await;
    let mut deliveries = take(&mut *source, 500).await.into_iter();
    let refused = Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE;
    mock.request_errors(Api::OffsetCommit, &[refused; 1_000]);
    expel(&mock, Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    until("a settlement comes too late", async || {
        let one = deliveries.next().expect("it happens before all is settled");
        !settle(&mut *source, &[(one.token, Verdict::Ack)]).await.is_empty()
    })
    .await;
    assert!(soon("it closes", source.close(&Context::background())).await.is_err());
}

/// They were deleted, as a rule, before they were read.
#[tokio::test]
async fn a_partition_that_does_not_go_on_where_it_was_left_is_warned_of() {
    let logged = Capture::start();
    let subscription = subscription("retained");
    let (mock, kafka) = mock(1, &subscription, 1);
    let foreigner = Foreigner::at(&mock.bootstrap_servers());
    foreigner.append(subscription.queue(), 0, 0..1).await;
    // The mock forgets one for a partition that is empty, as the group's own is.
    mock.request_errors(Api::Fetch, &[Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 3]);
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 1).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    // Or the group's own, whichever is asked for first.
    let names_it = |line: &Line| line.fields["message"].contains(subscription.queue());
    until("a warning", async || logged.warnings().iter().any(names_it)).await;
    close(source).await;
}

/// What lies behind something that was given back comes again at the other, and that is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_go_with_something_finished_behind_what_was_given_back_are_lost() {
    let mut group = Group::of(shared_broker(), "left-behind", 3).await;
    let (second, asked) = group.is_joined().await;
    let Group { mut first, mut heard, .. } = group;
    let (left, finished): (Vec<_>, Vec<_>) = std::mem::take(&mut heard.deliveries)
        .into_iter()
        .partition(|delivery| text(&delivery.message).ends_with("/1"));
    assert_eq!(settle(&mut *first, &all(&finished, Verdict::Ack)).await, []);
    let (goes, stays): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|delivery| asked.contains(&partition_of(delivery)));
    assert_eq!(settle(&mut *first, &all(&stays, Verdict::Ack)).await, []);
    assert_eq!(settle(&mut *first, &all(&goes, Verdict::Release)).await, []);
    heard.revoking.clear();
    let is_lost = |heard: &Heard| goes.iter().all(|delivery| heard.lost.contains(&delivery.lane));
    heard.until(&mut *first, "they are lost", is_lost).await;
    assert_eq!(heard.lost.len(), asked.len(), "and none that stays");
    let mut second = soon("the other", second).await.unwrap();
    for (_, texts) in by_partition(&take(&mut *second, 2 * asked.len()).await) {
        assert!(texts[0].ends_with("/1") && texts[1].ends_with("/2"), "{texts:?}");
    }
    close(first).await;
    drop(second);
}

/// Whatever the broker says to the commit that it gets so late: by then others may have begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_for_longer_than_the_session_while_he_closes_hears_that_it_may_be_lost() {
    let test =
        "who_is_cut_off_for_longer_than_the_session_while_he_closes_hears_that_it_may_be_lost";
    let Some(own) = OwnBroker::start(test, &[]).await else { return };
    let behind = own.kafka().commit_every(Duration::from_secs(600), 1_000);
    let straight = Foreigner::at(&own.broker.bootstrap());
    let subscription = subscription("cut-off-last");
    straight.make(&[subscription.queue()], 1).await;
    straight.append(subscription.queue(), 0, 0..3).await;
    let mut source = source(&behind, &subscription).await;
    let deliveries = take(&mut *source, 3).await;
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    own.proxy.blackhole(Direction::Both);
    let closing = tokio::spawn(async move { source.close(&Context::background()).await });
    // tidy: a session ends in real time, and nobody can be told of it
    tokio::time::sleep(session() + Duration::from_secs(2)).await;
    own.proxy.heal();
    assert!(soon("it closes", closing).await.unwrap().is_err());
}

/// Its last commit is made all the same, as long as the group waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_closes_while_a_lane_goes_commits_it_or_says_that_it_cannot() {
    let (mock, mut group) = Group::on_a_mock("cut-short").await;
    let (second, _) = group.is_joined().await;
    let Group { foreigner, subscription, mut first, mut heard, .. } = group;
    // As brokers do for a while, and it is tried again.
    mock.request_errors(Api::OffsetCommit, &[Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 10]);
    assert_eq!(settle(&mut *first, &all(&heard.deliveries, Verdict::Ack)).await, []);
    heard.revoking.clear();
    nothing(&mut *first, Duration::from_millis(200)).await;
    assert_eq!(foreigner.committed_of(&subscription).await, None);
    let closed = soon("it closes", first.close(&Context::background())).await;
    let is_committed = foreigner.committed_of(&subscription).await == Some(1);
    assert_eq!(closed.is_ok(), is_committed, "{closed:?}");
    drop(second);
}
