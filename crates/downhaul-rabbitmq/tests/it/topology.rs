//! Topologies on a real node: declared as they are written, again and again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Message, Outgoing, PublishErrorKind, PublishOutcome, Publisher,
    Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{Exchange, Overflow, Queue, RabbitMq, Topology};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use lapin::options::ExchangeDeleteOptions;

use crate::support::{
    Foreigner, all, broker_at, fill, own_node, publish, shared_broker, sink, soon, source, take,
    texts,
};

/// A broker on the shared node whose exchange is that of the topology.
fn broker(exchange: &str, topology: Topology) -> RabbitMq {
    RabbitMq::new(&shared()).unwrap().exchange(exchange).topology(topology).unwrap()
}

fn to(topic: &str, text: &str) -> Outgoing {
    Outgoing::to_topic(topic, Message::new(text.to_owned()))
}

/// Every property that there is a word for.
fn everything() -> Topology {
    Topology::new()
        .exchange(Exchange::direct("t-direct"))
        .exchange(Exchange::fanout("t-fanout"))
        .exchange(Exchange::headers("t-headers").alternate("t-fanout"))
        .exchange(Exchange::topic("t-topic"))
        .queue(
            Queue::quorum("t-quorum")
                .delivery_limit(7)
                .single_active_consumer()
                .overflow(Overflow::RejectPublish)
                .dead_letter_to_with("t-fanout", "dead")
                .dead_letter_at_least_once()
                .argument("x-quorum-initial-group-size", 1),
        )
        .queue(
            Queue::classic("t-classic")
                .message_ttl(Duration::from_secs(60))
                .expires(Duration::from_secs(3_600))
                .max_length(10)
                .max_bytes(1_000)
                .overflow(Overflow::RejectPublishDeadLetter)
                .dead_letter_to_queue("t-quorum"),
        )
        .bind("t-quorum", "t-direct", "key")
        .bind("t-classic", "t-topic", "a.*")
        .bind_headers("t-classic", "t-headers", [("x-match", "any"), ("kind", "parcel")])
        .bind_exchange("t-fanout", "t-topic", "b.#")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_what_the_broker_has() {
    let own = own_node();
    let broker = broker_at(&own.node.url()).topology(everything()).unwrap();
    sink(&broker).await;
    let listed = |arguments: &[&str]| {
        let listed = own.node.ctl(arguments).unwrap();
        let mut lines: Vec<_> =
            listed.lines().filter(|line| line.contains("t-")).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(
        listed(&["list_exchanges", "name", "type", "durable", "arguments"]),
        [
            "t-direct\tdirect\ttrue\t[]",
            "t-fanout\tfanout\ttrue\t[]",
            "t-headers\theaders\ttrue\t[{\"alternate-exchange\",\"t-fanout\"}]",
            "t-topic\ttopic\ttrue\t[]",
        ]
    );
    let queues = listed(&["list_queues", "name", "durable", "arguments"]);
    assert_eq!(queues.len(), 2, "{queues:?}");
    for (queue, properties) in queues.iter().zip([
        &[
            "x-message-ttl\",60000",
            "x-expires\",3600000",
            "x-max-length\",10",
            "x-max-length-bytes\",1000",
            "x-overflow\",\"reject-publish-dlx\"",
            "x-dead-letter-exchange\",[]", // as Erlang writes an empty text
            "x-dead-letter-routing-key\",\"t-quorum\"",
        ],
        &[
            "x-queue-type\",\"quorum\"",
            "x-delivery-limit\",7",
            "x-single-active-consumer\",true",
            "x-overflow\",\"reject-publish\"",
            "x-dead-letter-exchange\",\"t-fanout\"",
            "x-dead-letter-strategy\",\"at-least-once\"",
            "x-quorum-initial-group-size\",1",
        ],
    ]) {
        let missing: Vec<_> = properties.iter().filter(|words| !queue.contains(**words)).collect();
        assert!(missing.is_empty() && queue.contains("\ttrue\t"), "{queue}: {missing:?}");
    }
    let columns = ["source_name", "destination_name", "routing_key", "arguments"];
    let bindings = listed(&[&["list_bindings"][..], &columns].concat());
    let ours: Vec<_> = bindings.iter().filter(|line| line.starts_with("t-")).collect();
    assert_eq!(
        ours,
        [
            "t-direct\tt-quorum\tkey\t[]",
            "t-headers\tt-classic\t\t[{\"kind\",\"parcel\"},{\"x-match\",\"any\"}]",
            "t-topic\tt-classic\ta.*\t[]",
            "t-topic\tt-fanout\tb.#\t[]",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_finds_the_queues_of_its_topology_before_anybody_consumes_them() {
    let (exchange, audit, orders) = (unique("exchange"), unique("audit"), unique("orders"));
    let headers = unique("headers");
    let topology = Topology::new()
        .exchange(Exchange::topic(&exchange))
        .exchange(Exchange::headers(&headers))
        .queue(Queue::quorum(&orders).max_length(2).overflow(Overflow::RejectPublish))
        .queue(Queue::classic(&audit))
        .bind(&orders, &exchange, "order.*")
        .bind_exchange(&headers, &exchange, "#")
        .bind_headers(&audit, &headers, [("audit", "yes")]);
    let broker = broker(&exchange, topology);
    let sink = sink(&broker).await;
    let audited = Message::new("audited").with_header("audit", "yes");
    let audited = publish(&*sink, &Outgoing::to_topic("other", audited)).await;
    assert!(matches!(audited, PublishOutcome::Confirmed), "{audited:?}");
    let unrouted = publish(&*sink, &to("other", "lost")).await;
    assert!(matches!(unrouted, PublishOutcome::Returned(_)), "{unrouted:?}");
    // Quorum queues look at their length now and then.
    let mut taken = 0;
    while let PublishOutcome::Confirmed = publish(&*sink, &to("order.created", "order")).await {
        taken += 1;
        assert!(taken < 1_000, "it is never full");
    }
    assert!(taken >= 2);
    let mut audit = source(&broker, &Subscription::new(audit)).await;
    assert_eq!(texts(&take(&mut *audit, 1).await), ["audited"]);
}

/// Publishing to it ends the channel with a 404, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_declares_an_exchange_again_that_was_deleted_and_its_siblings_go_on() {
    let (exchange, orders) = (unique("exchange"), unique("orders"));
    let topology = Topology::new()
        .exchange(Exchange::topic(&exchange))
        .queue(Queue::classic(&orders))
        .bind(&orders, &exchange, "order.*");
    let broker = broker(&exchange, topology);
    let (sibling, mut source) =
        (sink(&broker).await, source(&broker, &Subscription::new(&*orders)).await);
    let publisher = Publisher::new(Arc::new(broker));
    let ctx = Context::background();
    publisher.publish(&ctx, to("order.created", "before")).await.unwrap();
    let foreigner = Foreigner::at(&shared()).await;
    let options = ExchangeDeleteOptions::default();
    foreigner.channel.exchange_delete((&*exchange).into(), options).await.unwrap();
    let lost = soon("an answer", publisher.publish(&ctx, to("order.created", "lost"))).await;
    let error = lost.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unknown, "{error}");
    let said = error.source().and_then(Error::source).expect("what the broker said").to_string();
    assert!(said.contains(&format!("no exchange '{exchange}'")), "{said}");
    let again = publisher.publish(&ctx, to("order.created", "after"));
    soon("another answer", again).await.unwrap();
    fill(&*sibling, &orders, ["sibling".to_owned()]).await;
    assert_eq!(texts(&take(&mut *source, 3).await), ["before", "after", "sibling"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_alone_declares_its_queue_and_where_its_dead_letters_go() {
    let (orders, letters, lost) = (unique("orders"), unique("letters"), unique("lost"));
    let topology = Topology::new()
        .exchange(Exchange::fanout(&letters))
        .queue(Queue::quorum(&orders).delivery_limit(2).dead_letter_to(&letters))
        .queue(Queue::classic(&lost))
        .bind(&lost, &letters, "");
    // No sink of this broker is ever opened.
    let broker = broker(&unique("exchange"), topology);
    let mut source = source(&broker, &Subscription::new(orders.clone())).await;
    fill(&*sink(&shared_broker()).await, &orders, ["poison".to_owned()]).await;
    for _ in 0..3 {
        let delivered = take(&mut *source, 1).await;
        source.settle(&all(&delivered, Verdict::Release)).await.unwrap();
    }
    let mut lost = crate::support::source(&broker, &Subscription::new(lost)).await;
    assert_eq!(texts(&take(&mut *lost, 1).await), ["poison"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_comes_back_with_its_properties_and_bindings() {
    let (exchange, orders) = (unique("exchange"), unique("orders"));
    let declared = || Queue::quorum(&orders).delivery_limit(9).dead_letter_to("amq.fanout");
    let topology = Topology::new()
        .exchange(Exchange::direct(&exchange))
        .queue(declared())
        .bind(&orders, &exchange, "order");
    let broker = broker(&exchange, topology);
    let subscription = Subscription::new(orders.clone());
    let foreigner = Foreigner::at(&shared()).await;
    for _ in 0..2 {
        let mut open = source(&broker, &subscription).await;
        let sink = sink(&broker).await;
        publish(&*sink, &to("order", "1")).await;
        assert_eq!(texts(&take(&mut *open, 1).await), ["1"]);
        // With other properties this would fail.
        let same = RabbitMq::new(&shared()).unwrap();
        let same = same.topology(Topology::new().queue(declared())).unwrap();
        source(&same, &subscription).await;
        foreigner.delete(&orders).await;
        soon("the end", open.next(&mut Vec::new())).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mismatch_names_the_queue_and_the_property_and_leaves_its_siblings_alone() {
    let (exchange, one, other) = (unique("exchange"), unique("one"), unique("other"));
    let with = |limit| {
        let limited = Queue::quorum(&one).delivery_limit(limit).dead_letter_to("amq.fanout");
        Topology::new().queue(limited).queue(Queue::classic(&other))
    };
    sink(&broker(&exchange, with(5))).await;
    let changed = broker(&exchange, with(6));
    let ctx = Context::background();
    let subscription = Subscription::new(one.clone());
    let Err(first) = soon("an error", changed.source(&ctx, &subscription)).await else {
        panic!("it opened")
    };
    let second = soon("an error", changed.sink(&ctx)).await.unwrap_err();
    for error in [first, second] {
        assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{}", error.chain());
        let words = error.to_string();
        assert!(words.contains(&one) && words.contains("`x-delivery-limit`"), "{words}");
        let chain = error.chain();
        assert!(chain.contains("received '6' but current is '5'"), "{chain}");
    }
    source(&changed, &Subscription::new(other.clone())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_of_another_type_is_named_with_its_type() {
    let exchange = unique("exchange");
    sink(&broker(&exchange, Topology::new())).await;
    let changed = broker(&exchange, Topology::new().exchange(Exchange::direct(&exchange)));
    let error = soon("an error", changed.sink(&Context::background())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{}", error.chain());
    let words = error.to_string();
    assert!(words.contains(&exchange) && words.contains("`type`"), "{words}");
}
