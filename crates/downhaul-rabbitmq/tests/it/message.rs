//! Messages on the way there and back, and those of others.

use downhaul_consumer::{BrokerErrorKind, Message, Outgoing, PublishOutcome, headers};
use downhaul_testkit::rabbitmq::{shared, shared_ctl};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};

use crate::support::{
    Foreigner, fill, publish, shared_broker, sink, soon, sorted_headers, source, subscription,
    take, texts,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_sent() {
    let (broker, subscription) = (shared_broker(), subscription("round-trip"));
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let message = Message::json(&serde_json::json!({ "order": "ü" }))
        .unwrap()
        .with_id("order-7.created")
        .with_header(headers::REQUEST_ID, "request-7")
        .with_header("tenant", "Ünal & Söhne")
        .with_header("empty", "")
        .with_key("customer-7");
    let outgoing = Outgoing::to_topic(subscription.queue(), message.clone());
    let outcome = publish(&*sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let delivery = take(&mut *source, 1).await.remove(0);
    assert_eq!(delivery.topic.as_deref(), Some(subscription.queue()));
    let arrived = delivery.message;
    assert_eq!(arrived.key(), Some("customer-7"));
    assert_eq!(arrived.id(), message.id());
    assert_eq!(arrived.content_type(), "application/json");
    assert_eq!(arrived.payload(), message.payload());
    assert_eq!(sorted_headers(&arrived), sorted_headers(&message));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_message_and_a_large_one_arrive() {
    let (broker, subscription) = (shared_broker(), subscription("sizes"));
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    for size in [0, 1, 131_064, 3_000_000] {
        let outgoing = Outgoing::to_queue(subscription.queue(), Message::new(vec![7; size]));
        publish(&*sink, &outgoing).await;
        let arrived = take(&mut *source, 1).await.remove(0).message;
        assert!(arrived.payload().len() == size && arrived.payload().iter().all(|byte| *byte == 7));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_are_read_as_far_as_they_go() {
    let (broker, subscription) = (shared_broker(), subscription("foreign"));
    let mut source = source(&broker, &subscription).await;
    let foreigner = Foreigner::at(&shared()).await;
    let mut table = FieldTable::default();
    for (name, value) in [
        ("count", AMQPValue::LongInt(-7)),
        ("bytes", AMQPValue::ByteArray(b"raw".to_vec().into())),
        ("flag", AMQPValue::Boolean(true)),
        ("nothing", AMQPValue::Void),
        ("table", AMQPValue::FieldTable(FieldTable::default())),
        ("x-tenant", AMQPValue::LongString("theirs".into())),
        ("x-last-death-queue", AMQPValue::LongString("the broker's".into())),
    ] {
        table.insert(name.into(), value);
    }
    let rich = BasicProperties::default().with_headers(table).with_correlation_id("call-7".into());
    for (properties, text) in [(rich, "rich"), (BasicProperties::default(), "poor")] {
        let (queue, options) = (subscription.queue().into(), BasicPublishOptions::default());
        let sent =
            foreigner.channel.basic_publish("".into(), queue, options, text.as_bytes(), properties);
        sent.await.unwrap().await.unwrap();
    }
    let deliveries = take(&mut *source, 2).await;
    assert_eq!(texts(&deliveries), ["rich", "poor"]);
    let expected = [
        ("bytes", "raw"),
        ("count", "-7"),
        ("flag", "true"),
        ("request-id", "call-7"),
        ("x-tenant", "theirs"),
    ];
    assert_eq!(sorted_headers(&deliveries[0].message), expected);
    let poor = &deliveries[1].message;
    assert!(!poor.id().is_empty() && poor.headers().iter().next().is_none());
    assert_eq!(poor.content_type(), "application/octet-stream");
}

/// Else all of such a publisher's messages would be one to consumers that tell duplicates.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_id_is_none() {
    let (broker, subscription) = (shared_broker(), subscription("blank"));
    let mut source = source(&broker, &subscription).await;
    let foreigner = Foreigner::at(&shared()).await;
    for text in ["one", "two"] {
        let (queue, options) = (subscription.queue().into(), BasicPublishOptions::default());
        let blank = BasicProperties::default().with_message_id("".into());
        let sent =
            foreigner.channel.basic_publish("".into(), queue, options, text.as_bytes(), blank);
        sent.await.unwrap().await.unwrap();
    }
    let deliveries = take(&mut *source, 2).await;
    let [one, two] = [0, 1].map(|index: usize| deliveries[index].message.id());
    assert!(!one.is_empty() && !two.is_empty() && one != two, "{one:?} {two:?}");
}

/// It comes again and again, and nobody would know why.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_ends_the_source_with_advice() {
    let (broker, subscription) = (shared_broker(), subscription("unreadable"));
    let mut before = source(&broker, &subscription).await;
    let queue = subscription.queue();
    let nowhere = "rabbit_misc:r(<<\"/\">>, exchange, <<>>)";
    let publish = format!("rabbit_basic:publish({nowhere}, <<\"{queue}\">>, ");
    let latin = publish + "[{message_id, <<255>>}], <<\"x\">>).";
    let Some(published) = shared_ctl(&["eval", &latin]) else {
        println!("SKIPPED: the node is somebody else's");
        return;
    };
    published.unwrap();
    let error = soon("the end", before.next(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("UTF-8"), "{}", error.chain());
    drop(before);

    let foreigner = Foreigner::at(&shared()).await;
    let back = async { while foreigner.look(queue).await.0 == 0 {} };
    soon("it is back in its queue", back).await;
    foreigner.purge(queue).await;
    let mut after = source(&broker, &subscription).await;
    fill(&*sink(&broker).await, queue, ["readable".to_owned()]).await;
    assert_eq!(texts(&take(&mut *after, 1).await), ["readable"]);
}
