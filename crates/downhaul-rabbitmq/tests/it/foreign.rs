//! A client in another language publishes to us and consumes from us: pika.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use downhaul_consumer::{
    Consumer, Delivery, Failure, Incoming, Json, Message, Outcome, Outgoing, PublishOutcome,
    Settlement, State, Subscription, Verdict, headers,
};
use downhaul_context::Context;
use downhaul_rabbitmq::property;
use downhaul_testkit::rabbitmq::{Pika, shared};
use downhaul_testkit::unique;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{
    all, broker_at, publish, sink, soon, sorted_headers, source, subscription, take, text,
};

/// pika, or a declared skip.
fn pika(test: &str) -> Option<Pika> {
    let pika = Pika::find();
    if pika.is_none() {
        println!("SKIPPED {test}: no pika here, `cargo xtask test` installs it");
    }
    pika
}

/// Runs the program beside this file, and returns what it prints.
fn run(pika: &Pika, arguments: &[&str]) -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/foreign.py");
    let mut command = Command::new(pika.python());
    let output = block_in_place(|| command.arg(program).arg(shared()).args(arguments).output());
    let output = output.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// What waits in a queue, as pika sees it.
fn consumed(pika: &Pika, queue: &str, count: usize) -> Vec<Value> {
    serde_json::from_str(&run(pika, &["consume", queue, &count.to_string()])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pika_publishes_is_read_whatever_its_framework_puts_into_it() {
    let name = "what_pika_publishes_is_read_whatever_its_framework_puts_into_it";
    let Some(pika) = pika(name) else { return };
    let (exchange, subscription) = (unique("exchange"), subscription("from-pika"));
    let broker = broker_at(&shared()).exchange(exchange.clone());
    let mut source = source(&broker, &subscription).await;
    run(&pika, &["publish", &exchange, subscription.queue()]);
    let deliveries = take(&mut *source, 4).await;
    let topic = Some(subscription.queue());
    assert!(deliveries.iter().all(|delivery| delivery.topic.as_deref() == topic));
    let [bare, celery, masstransit, types] = &deliveries[..] else { unreachable!() };

    assert_eq!(text(&bare.message), "bare");
    assert!(!bare.message.id().is_empty() && sorted_headers(&bare.message).is_empty());
    assert_eq!(bare.message.content_type(), "application/octet-stream");

    let task: Value = serde_json::from_slice(celery.message.payload()).unwrap();
    assert_eq!(task[0], json!([7]));
    assert_eq!(celery.message.content_type(), "application/json");
    let header =
        |delivery: &Delivery, name| delivery.message.headers().get(name).map(str::to_owned);
    for (name, value) in [
        ("task", Some("shop.reserve")),
        ("retries", Some("0")),
        ("ignore_result", Some("false")),
        ("timelimit", None),
        ("eta", None),
        (headers::REQUEST_ID, Some("d3adb33f-task")),
        (property::CORRELATION_ID, None),
        (property::CONTENT_ENCODING, Some("utf-8")),
        (property::REPLY_TO, Some("c0ffee-replies")),
        (property::PRIORITY, Some("0")),
    ] {
        assert_eq!(header(celery, name).as_deref(), value, "{name}");
    }

    let envelope: Value = serde_json::from_slice(masstransit.message.payload()).unwrap();
    assert_eq!(envelope["message"], json!({ "orderId": 7 }));
    assert_eq!(masstransit.message.id(), "08dc0000-5d5f-0015-0000-000000000007");
    assert_eq!(masstransit.message.content_type(), "application/vnd.masstransit+json");
    let published = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!((bare.timestamp, masstransit.timestamp), (None, Some(published)));
    assert_eq!(header(masstransit, "publishId").as_deref(), Some("1"));

    let expected = [
        (property::APP_ID, "a"),
        (property::CONTENT_ENCODING, "gzip"),
        (property::CORRELATION_ID, "call-7"),
        (property::PRIORITY, "7"),
        (property::REPLY_TO, "answers"),
        (property::TYPE, "t"),
        ("bytes", "raw"),
        ("large", "1099511627776"),
        (headers::REQUEST_ID, "request-7"),
        ("small", "-7"),
        ("text", "Ünal & Söhne"),
        ("when", "1700000000"),
        ("x-theirs", "carried"),
        ("yes", "true"),
    ];
    assert_eq!(sorted_headers(&types.message), expected);
    assert_eq!(property::correlation_id(&celery.message), Some("d3adb33f-task"));
    assert_eq!(property::correlation_id(&types.message), Some("call-7"));
    source.settle(&all(&deliveries, Verdict::Ack)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_publish_is_read_by_pika_as_the_documentation_says() {
    let name = "what_we_publish_is_read_by_pika_as_the_documentation_says";
    let Some(pika) = pika(name) else { return };
    let (exchange, subscription) = (unique("exchange"), subscription("to-pika"));
    let broker = broker_at(&shared()).exchange(exchange.clone());
    drop(source(&broker, &subscription).await);
    let message = Message::json(&json!({ "order": "ü" }))
        .unwrap()
        .with_id("order-7.created")
        .with_key("customer-7")
        .with_header(headers::REQUEST_ID, "request-7")
        .with_header(property::REPLY_TO, "answers")
        .with_header(property::TYPE, "order.created")
        .with_header(property::APP_ID, "shop")
        .with_header(property::PRIORITY, "7")
        .with_header(property::CONTENT_ENCODING, "identity")
        .with_header("tenant", "Ünal & Söhne");
    let outcome =
        publish(&*sink(&broker).await, &Outgoing::to_topic(subscription.queue(), message)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let mut seen = consumed(&pika, subscription.queue(), 1).remove(0);
    assert!(seen["timestamp"].take().as_u64().unwrap() > 1_700_000_000);
    let expected = json!({
        "body": "{\"order\":\"ü\"}",
        "message_id": "order-7.created",
        "content_type": "application/json",
        "correlation_id": "request-7",
        "delivery_mode": 2,
        "reply_to": "answers",
        "type": "order.created",
        "app_id": "shop",
        "priority": 7,
        "content_encoding": "identity",
        "timestamp": null,
        "headers": { "key": "customer-7", "request-id": "request-7", "tenant": "Ünal & Söhne" },
        "exchange": exchange,
        "routing_key": subscription.queue(),
    });
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_ours_tells_pika_why_it_is_one() {
    let Some(pika) = pika("a_dead_letter_of_ours_tells_pika_why_it_is_one") else { return };
    let broker = Arc::new(broker_at(&shared()));
    let subscription = Subscription::new(unique("refused"));
    let refuse = |_ctx: Context, _message: Incoming<Message>| async {
        Err::<(), _>(Failure::permanent("no such article"))
    };
    let consumer = Consumer::new(subscription.clone(), refuse);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(&broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    let order = Message::new("7")
        .with_id("order-7")
        .with_header(headers::REQUEST_ID, "request-7")
        .with_header(property::CORRELATION_ID, "call-7")
        .with_header(property::TYPE, "order")
        .with_header(property::REPLY_TO, "answers");
    let order = Outgoing::to_queue(subscription.queue(), order);
    publish(&*sink(&*broker).await, &order).await;
    let letter = consumed(&pika, &subscription.dead_letter_queue(), 1).remove(0);
    assert_eq!((&letter["body"], &letter["message_id"]), (&json!("7"), &json!("order-7")));
    let of = |name: &str| letter["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(of(headers::ORIGIN_QUEUE), subscription.queue());
    assert_eq!(of(headers::ATTEMPT), "1");
    assert!(!of(headers::DEAD_REASON).is_empty() && !of(headers::FIRST_FAILED).is_empty());
    assert!(of(headers::DEAD_ERROR).contains("no such article"), "{letter}");
    assert_eq!((&letter["type"], &letter["reply_to"]), (&json!("order"), &json!("answers")));
    assert_eq!(letter["correlation_id"], "call-7", "not the request's");
    consumer.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_pika_is_answered() {
    let Some(pika) = pika("a_caller_with_pika_is_answered") else { return };
    let subscription = Subscription::new(unique("calls"));
    let twice = |_ctx: Context, request: Incoming<Json<u64>>| async move {
        let answer = Message::json(&(2 * request.body.0)).unwrap();
        let mut answer = property::answer(request.message(), answer).unwrap();
        // RabbitMQ counts it as routed nowhere, and one that is not optional would come back.
        answer.optional = false;
        Outcome::new(Settlement::Ack).emit(answer)
    };
    let consumer = Consumer::new(subscription.clone(), twice);
    let consumer = consumer.spawn(&Context::background(), Arc::new(broker_at(&shared())));
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    let answer = run(&pika, &["call", subscription.queue(), "21"]);
    assert_eq!(answer.trim(), r#"["42", "call-7"]"#);
    soon("the request is done", async {
        while consumer.tally().acked + consumer.tally().retried == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((consumer.tally().acked, consumer.tally().retried), (1, 0));
    consumer.drain();
}
