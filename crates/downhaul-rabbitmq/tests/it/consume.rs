//! Consuming: what is out, what comes back, what the intake does.

use std::sync::Arc;

use downhaul_consumer::{
    BrokerErrorKind, Consumer, Incoming, Link, Message, Settled, State, Verdict,
};
use downhaul_context::Context;
use downhaul_testkit::capture::Capture;
use downhaul_testkit::rabbitmq::shared;
use tracing::Level;

use crate::support::{
    Foreigner, all, fill, more, shared_broker, sink, soon, source, subscription, take, texts,
};

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_intake_lets_through_what_was_sent_and_nothing_else() {
    let (broker, subscription) = (shared_broker(), subscription("paused"));
    let queue = subscription.queue();
    let mut source = source(&broker, &subscription).await;
    let (sink, foreigner) = (sink(&broker).await, Foreigner::at(&shared()).await);
    fill(&*sink, queue, numbers(0..10)).await;
    // On their way to us, or here already.
    while foreigner.look(queue).await.0 > 0 {}

    soon("closing the intake", source.set_prefetch(0)).await.unwrap();
    fill(&*sink, queue, numbers(10..15)).await;
    assert_eq!(foreigner.look(queue).await, (5, 0), "the broker sends nothing more");
    let mut deliveries = take(&mut *source, 10).await;
    source.settle(&all(&deliveries, Verdict::Ack)).await.unwrap();

    soon("opening it", source.set_prefetch(16)).await.unwrap();
    while deliveries.len() < 15 {
        more(&mut *source, &mut deliveries).await;
    }
    assert_eq!(texts(&deliveries), numbers(0..15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_arrived_is_given_out_in_parts_so_that_it_can_be_acknowledged_in_parts() {
    let (broker, subscription) = (shared_broker(), subscription("parts").with_prefetch(400));
    let queue = subscription.queue();
    let mut source = source(&broker, &subscription).await;
    let (sink, foreigner) = (sink(&broker).await, Foreigner::at(&shared()).await);
    fill(&*sink, queue, numbers(0..100)).await;
    while foreigner.look(queue).await.0 > 0 {}
    // All that was sent has arrived then.
    source.set_prefetch(0).await.unwrap();
    let mut deliveries = Vec::new();
    more(&mut *source, &mut deliveries).await;
    assert_eq!(deliveries.len(), 16);
    source.set_prefetch(400).await.unwrap();
    more(&mut *source, &mut deliveries).await;
    assert_eq!(deliveries.len(), 16 + 400 / 8);
    assert_eq!(texts(&deliveries), numbers(0..66).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intake_that_opens_again_keeps_to_the_prefetch() {
    let (broker, subscription) = (shared_broker(), subscription("reopened"));
    let prefetch = usize::from(subscription.prefetch());
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    fill(&*sink, subscription.queue(), numbers(0..40)).await;
    let first = take(&mut *source, prefetch).await;
    source.set_prefetch(0).await.unwrap();
    source.set_prefetch(16).await.unwrap();
    source.settle(&all(&first[..3], Verdict::Ack)).await.unwrap();
    take(&mut *source, 3).await;
    // 13 of the first are still out.
    let another = futures_util::FutureExt::now_or_never(source.next(&mut Vec::new()));
    assert!(another.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_settled_before_closing_has_reached_the_broker() {
    let (broker, subscription) = (shared_broker(), subscription("settled"));
    let queue = subscription.queue();
    let (sink, foreigner) = (sink(&broker).await, Foreigner::at(&shared()).await);
    for _ in 0..20 {
        let mut source = source(&broker, &subscription).await;
        fill(&*sink, queue, numbers(0..16)).await;
        let deliveries = take(&mut *source, 16).await;
        let (odd, even): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|delivery| delivery.token.number() % 2 == 1);
        let settled = source.settle(&all(&odd, Verdict::Ack)).await.unwrap();
        assert_eq!(settled, Settled::written());
        source.settle(&all(&even, Verdict::Ack)).await.unwrap();
        soon("closing", source.close(&Context::background())).await.unwrap();
        assert_eq!(foreigner.look(queue).await, (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_or_left_comes_again_and_is_marked() {
    let (broker, subscription) = (shared_broker(), subscription("again"));
    let mut first = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    fill(&*sink, subscription.queue(), numbers(0..6)).await;
    let deliveries = take(&mut *first, 6).await;
    first.settle(&all(&deliveries[..2], Verdict::Release)).await.unwrap();
    first.settle(&all(&deliveries[3..4], Verdict::Ack)).await.unwrap();
    let released = take(&mut *first, 2).await;
    assert_eq!(texts(&released), ["0", "1"]);
    assert!(released.iter().all(|delivery| delivery.redeliveries == 1));
    assert_eq!(released[0].message.id(), deliveries[0].message.id());
    drop(first);

    let mut second = source(&broker, &subscription).await;
    let mut left = texts(&take(&mut *second, 5).await);
    left.sort_unstable();
    assert_eq!(left, ["0", "1", "2", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_twice_is_settling_once() {
    let (broker, subscription) = (shared_broker(), subscription("twice"));
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    fill(&*sink, subscription.queue(), numbers(0..2)).await;
    let deliveries = take(&mut *source, 2).await;
    for _ in 0..3 {
        source.settle(&all(&deliveries, Verdict::Ack)).await.unwrap();
    }
    fill(&*sink, subscription.queue(), numbers(2..3)).await;
    assert_eq!(texts(&take(&mut *source, 1).await), ["2"], "the channel lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_the_end_of_a_source_and_the_next_declares_it_again() {
    let (broker, subscription) = (shared_broker(), subscription("deleted"));
    let mut first = source(&broker, &subscription).await;
    let foreigner = Foreigner::at(&shared()).await;
    foreigner.delete(subscription.queue()).await;
    let error = soon("the end", first.next(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::QueueGone);
    assert!(error.to_string().contains(subscription.queue()), "{error}");

    let mut second = source(&broker, &subscription).await;
    fill(&*sink(&broker).await, subscription.queue(), numbers(0..1)).await;
    assert_eq!(texts(&take(&mut *second, 1).await), ["0"]);
}

#[tokio::test]
async fn a_consumer_whose_queue_was_deleted_says_so_and_of_no_lost_link() {
    let log = Capture::start(|line| *line.level() == Level::WARN);
    let (broker, subscription) = (Arc::new(shared_broker()), subscription("deleted-under"));
    let (ctx, _canceller) = Context::root();
    let nothing = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription.clone(), nothing).spawn(&ctx, broker);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    let foreigner = Foreigner::at(&shared()).await;
    foreigner.delete(subscription.queue()).await;
    let is_lost = |link: &Link| matches!(link, Link::Recovering { .. });
    soon("it is gone", consumer.wait_for(|status| is_lost(&status.link))).await.unwrap();
    soon("it is back", consumer.wait_for(|status| !is_lost(&status.link))).await.unwrap();
    let said: Vec<_> = log.lines().iter().map(|line| line.fields["message"].clone()).collect();
    assert_eq!(said, ["the queue is gone, opening it again"]);
    assert!(log.lines()[0].fields["error"].contains("the queue was deleted or moved"));
}
