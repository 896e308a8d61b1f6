//! Links behind a proxy: lost at a chosen byte, silent, and lost again and again.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    BrokerErrorKind, Consumer, ConsumerHandle, Incoming, Message, Outgoing, PublishOutcome,
    Publisher, Sink, State, Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use downhaul_testkit::proxy::{Counts, Cut, Direction, Proxy};
use downhaul_testkit::rabbitmq::{Node, shared};
use downhaul_testkit::unique;
use tokio::time::Instant;

use crate::support::{
    Foreigner, all, at_rest, behind_proxy, broker_at, fill, own_node, publish, sink, soon, source,
    subscription, take, text, texts,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_falls_silent_is_given_up_on_after_two_heartbeats() {
    let (proxy, broker) = behind_proxy(&shared());
    let broker = broker.heartbeat(Duration::from_secs(1));
    let subscription = subscription("silent");
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    proxy.blackhole(Direction::Both);
    let silent = Instant::now();
    let receipt = sink.send(&Outgoing::to_queue(subscription.queue(), Message::new(""))).await;
    let error = soon("the end", source.next(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{error}");
    let outcome = soon("an answer", receipt.unwrap()).await;
    assert!(matches!(outcome, PublishOutcome::Unknown(_)), "{outcome:?}");
    let took = silent.elapsed();
    assert!(took < Duration::from_secs(3), "two heartbeats and a look: {took:?}");
    assert_eq!(proxy.counts().cut, 0, "nobody was told");
}

/// Without a body, a message is its method frame and its header frame. One of the same length and
/// with a body has the very same ones in front.
async fn frames_before_a_body(proxy: &Proxy, sink: &dyn Sink, queue: &str) -> Counts {
    let before = at_rest(proxy).await;
    let outcome = publish(sink, &Outgoing::to_queue(queue, Message::new("").with_id("a"))).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let mut passed = at_rest(proxy).await;
    passed.to_upstream.passed -= before.to_upstream.passed;
    passed.to_client.passed -= before.to_client.passed;
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_cut_between_header_and_body_is_unknown_and_leaves_no_half_message() {
    let (proxy, broker) = behind_proxy(&shared());
    let (broker, queue) = (broker.heartbeat(Duration::from_secs(60)), unique("half-published"));
    drop(source(&RabbitMq::new(&shared()).unwrap(), &Subscription::new(&queue)).await);
    let before = sink(&broker).await;
    let frames = frames_before_a_body(&proxy, &*before, &queue).await.to_upstream.passed;
    proxy.half_frame(Direction::ToUpstream, frames);
    let halved = Message::new("body".repeat(10)).with_id("b");
    let outcome = publish(&*before, &Outgoing::to_queue(&queue, halved.clone())).await;
    assert!(matches!(outcome, PublishOutcome::Unknown(_)), "{outcome:?}");
    assert_eq!(proxy.counts().cut, 1);

    let after = sink(&broker).await;
    let outcome = publish(&*after, &Outgoing::to_queue(&queue, halved)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let mut source = source(&broker, &Subscription::new(&queue)).await;
    let deliveries = take(&mut *source, 2).await;
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.message.id()).collect();
    assert_eq!(ids, ["a", "b"], "it is there once");
    assert_eq!(text(&deliveries[1].message), "body".repeat(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_cut_between_header_and_body_is_none_and_comes_again_whole() {
    let (proxy, broker) = behind_proxy(&shared());
    let (broker, subscription) = (broker.heartbeat(Duration::from_secs(60)), subscription("half"));
    let straight = sink(&RabbitMq::new(&shared()).unwrap()).await;
    let mut before = source(&broker, &subscription).await;
    // The sink goes past the proxy, so what passes is the delivery.
    let frames = frames_before_a_body(&proxy, &*straight, subscription.queue()).await;
    let first = take(&mut *before, 1).await;
    before.settle(&all(&first, Verdict::Ack)).await.unwrap();
    at_rest(&proxy).await;
    proxy.half_frame(Direction::ToClient, frames.to_client.passed);
    let halved = Message::new("body".repeat(10)).with_id("b");
    let outcome = publish(&*straight, &Outgoing::to_queue(subscription.queue(), halved)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let mut events = Vec::new();
    soon("the end", before.next(&mut events)).await.unwrap_err();
    assert!(events.is_empty(), "half a message is none");
    assert_eq!(proxy.counts().cut, 1);

    let mut after = source(&broker, &subscription).await;
    let deliveries = take(&mut *after, 1).await;
    assert_eq!(texts(&deliveries), ["body".repeat(10)]);
    assert_eq!(deliveries[0].redeliveries, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_publishes_than_the_window_wait_for_an_answer() {
    let (proxy, broker) = behind_proxy(&shared());
    let (broker, subscription) = (broker.publish_window(3), subscription("window"));
    let _source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let outgoing = Outgoing::to_queue(subscription.queue(), Message::new(""));
    proxy.blackhole(Direction::ToClient);
    let mut receipts = Vec::new();
    for _ in 0..3 {
        receipts.push(soon("a send", sink.send(&outgoing)).await.unwrap());
    }
    let mut fourth = Box::pin(sink.send(&outgoing));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut fourth).await;
    assert!(early.is_err(), "a fourth was sent");
    proxy.heal();
    receipts.push(soon("the fourth send", fourth).await.unwrap());
    for receipt in receipts {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_nobody_waits_for_take_no_room_in_the_window() {
    let (_proxy, broker) = behind_proxy(&shared());
    let (broker, subscription) = (broker.publish_window(2), subscription("dropped"));
    let _source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let outgoing = Outgoing::to_queue(subscription.queue(), Message::new(""));
    for _ in 0..100 {
        drop(soon("a send", sink.send(&outgoing)).await.unwrap());
    }
    let outcome = publish(&*sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
}

/// A consumer that acknowledges all it gets.
async fn accepting(broker: &Arc<RabbitMq>, concurrency: u16) -> (ConsumerHandle, String) {
    let queue = unique("reconnecting");
    let accept = |_ctx: Context, _message: Incoming<Message>| async {};
    let consumer = Consumer::new(Subscription::new(queue.clone()), accept).concurrency(concurrency);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    (consumer, queue)
}

/// Waits until each consumer gets one message more, by whatever link. One that gets none would be
/// given time before its next link is made.
async fn each_gets_one(publisher: &Publisher, consumers: &[(ConsumerHandle, String)]) {
    let ctx = Context::background();
    let each = consumers.iter().map(|(consumer, queue)| async {
        let before = consumer.tally().acked;
        let message = Outgoing::to_queue(queue.as_str(), Message::new(""));
        publisher.publish_until_known(&ctx, message).await.unwrap();
        while consumer.tally().acked == before {
            tokio::task::yield_now().await;
        }
    });
    soon("each gets one", futures_util::future::join_all(each)).await;
}

fn consumers_at(node: &Node) -> Vec<String> {
    let list = node.ctl(&["list_consumers", "queue_name", "prefetch_count"]).unwrap();
    let lines = list.lines().filter(|line| line.starts_with("reconnecting"));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hundred_reconnects_each_subscription_has_one_consumer_with_its_prefetch() {
    let own = own_node();
    let (proxy, broker) = behind_proxy(&own.node.url());
    let broker = Arc::new(broker);
    let consumers = [accepting(&broker, 1).await, accepting(&broker, 7).await];
    let mut wanted: Vec<_> = [2, 14].into_iter().zip(&consumers).map(line).collect();
    wanted.sort_unstable();
    let publisher = Publisher::new(Arc::clone(&broker) as _);
    for number in 0..100 {
        each_gets_one(&publisher, &consumers).await;
        match number % 5 {
            0 => drop(own.node.ctl(&["close_all_connections", "a test"]).unwrap()),
            _ => proxy.cut(Cut::Reset),
        }
    }
    each_gets_one(&publisher, &consumers).await;
    assert!(proxy.counts().accepted > 100, "{:?}", proxy.counts());
    // The node notices a moment later that the last links are gone.
    let settles = async {
        while consumers_at(&own.node) != wanted {
            tokio::task::yield_now().await
        }
    };
    soon("one consumer each", settles).await;
}

fn line((prefetch, (_, queue)): (u16, &(ConsumerHandle, String))) -> String {
    format!("{queue}\t{prefetch}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_emptied_gets_its_queues_and_bindings_back() {
    let own = own_node();
    let broker = Arc::new(broker_at(&own.node.url()));
    let queue = unique("emptied");
    let accept = |_ctx: Context, _message: Incoming<Message>| async {};
    let consumer = Consumer::new(Subscription::new(queue.clone()).topic("order"), accept);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(&broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    for command in ["stop_app", "force_reset", "start_app"] {
        own.node.ctl(&[command]).unwrap();
    }
    let publisher = Publisher::new(Arc::clone(&broker) as _);
    let again = async {
        let order = || Outgoing::to_topic("order", Message::new(""));
        // Until it is declared again, nobody takes the message.
        while publisher.publish(&Context::background(), order()).await.is_err() {}
        while consumer.tally().acked == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the topic leads to the queue again", again).await;
    assert_eq!(Foreigner::at(&own.node.url()).await.look(&queue).await.1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_the_user_may_not_read_costs_its_own_subscription_alone() {
    let own = own_node();
    own.node.ctl(&["add_user", "clerk", "clerk"]).unwrap();
    own.node.ctl(&["set_permissions", "clerk", ".*", ".*", "^(open|exchange).*"]).unwrap();
    let broker = broker_at(&own.node.url().replace("guest:guest", "clerk:clerk"));
    let (open, closed) = (subscription("open"), subscription("closed"));
    let mut open_source = source(&broker, &open).await;
    let ctx = Context::background();
    let refused = soon("an error", downhaul_consumer::Broker::source(&broker, &ctx, &closed)).await;
    let Err(error) = refused else { panic!("it opened") };
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{}", error.chain());
    let words = error.chain();
    assert!(words.contains(closed.queue()) && words.contains("may not"), "{words}");
    fill(&*sink(&broker).await, open.queue(), ["7".to_owned()]).await;
    assert_eq!(texts(&take(&mut *open_source, 1).await), ["7"]);
}
