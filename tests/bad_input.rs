//! What comes from outside and is wrong.

use std::sync::Arc;

use downhaul::Context;
use downhaul::consumer::headers::DEAD_REASON;
use downhaul::consumer::{Broker, Message, Outgoing, Publisher, Subscription};
use downhaul::rabbitmq::RabbitMq;
use downhaul_testkit::rabbitmq::shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::broker_loss::vhost;
use crate::service::{Service, json_of, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_order_is_a_400_that_says_what_is_wrong() {
    let service = Service::start(&[]).await;
    for (body, words) in [
        ("{", "EOF"),
        (r#"{"product":"p-1"}"#, "missing field `quantity`"),
        (r#"{"product":"p-1","quantity":0}"#, "at least 1"),
        (r#"{"product":"p-1","quantity":-1}"#, "quantity"),
        (r#"{"product":"p-1","quantity":1,"colour":"red"}"#, "unknown field `colour`"),
        (r#"{"product":7,"quantity":1}"#, "product"),
    ] {
        let refused = service.post_order(body.to_owned()).await.unwrap();
        assert_eq!(refused.status(), 400, "{body}");
        let message = text(&json_of(refused).await["detail"]);
        assert!(message.contains(words), "{body}: {message}");
    }
    assert_eq!(service.get("/orders/nothing").await.0, 404);
    assert_eq!(service.stats().await["pending"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_and_a_body_of_a_gibibyte_leave_the_service_unmoved() {
    let service = Service::start(&[]).await;
    let mut garbage = TcpStream::connect(service.listen()).await.unwrap();
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    let mut answer = Vec::new();
    // A 400 or a closed connection: either way it ends.
    let _ = garbage.read_to_end(&mut answer).await;

    let mut large = TcpStream::connect(service.listen()).await.unwrap();
    let head = format!("POST /orders HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", 1 << 30);
    large.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    large.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");

    service.place_many(1).await;
    service.until_settled(1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_json_is_a_dead_letter_with_its_reason_and_the_service_goes_on() {
    let url = tokio::task::block_in_place(shared);
    let (url, _vhost) = vhost(&url);
    let service = Service::start(&["--broker", &url]).await;
    let broker = Arc::new(RabbitMq::new(&url).unwrap());
    let ctx = Context::background();
    let publisher = Publisher::new(broker.clone());
    let broken = Message::new("not json").with_id("broken-1");
    publisher.publish(&ctx, Outgoing::to_topic("order.created", broken)).await.unwrap();

    let mut dead = broker.source(&ctx, &Subscription::new("inventory.dead")).await.unwrap();
    let mut letters = Vec::new();
    dead.next(&mut letters).await.unwrap();
    let letter = letters.remove(0).into_delivery().unwrap().message;
    assert_eq!(letter.id(), "broken-1");
    let reason = letter.headers().get(DEAD_REASON).unwrap();
    assert!(reason.contains("not the JSON expected"), "{reason}");

    service.place_many(1).await;
    service.until_settled(1000).await;
    assert!(service.stop().await.status.success());
}

/// Starts a service that cannot start, and returns the one line that says why.
async fn refusal(arguments: &[&str]) -> String {
    let ended = Service::spawn(arguments, &[]).await.ended().await;
    assert!(!ended.status.success() && ended.status.code().is_some(), "{ended:?}");
    ended.output.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refusal(&["--listen", &address]).await;
    assert!(line.starts_with("orders did not start: http:") && line.contains(&address), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_nobody_answers_for_is_one_line_that_names_it() {
    // Bound and not listening would be better, but a port that was just given back is as good.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = refusal(&["--broker", &format!("amqp://guest:s3cret@{free}/%2f")]).await;
    assert!(line.starts_with("orders did not start: broker:"), "{line}");
    assert!(line.contains(&free.to_string()) && !line.contains("s3cret"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_nobody_answers_for_is_named_while_it_is_tried_and_no_value_is_shown() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = format!("kafka://{free}?sasl.password=s3cret");
    let service = Service::spawn(&["--broker", &broker], &[]).await;
    let tells =
        |line: &String| line.contains("broker not reached yet") && line.contains(&free.to_string());
    service.until("the failure is told", async || service.lines().iter().any(tells)).await;
    // Or it is tried for a minute.
    let ended = service.stop().await;
    assert!(!ended.output.contains("s3cret"), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_of_kafka_that_is_none_or_ours_is_one_line_that_names_it_and_no_value() {
    for (property, word) in [
        ("acks=s3cret", "`acks`"),
        ("no.such.thing=s3cret", "`no.such.thing`"),
        ("enable.auto.commit=s3cret", "`enable.auto.commit`"),
        ("s3cret", "`?name=value"),
    ] {
        let line = refusal(&["--broker", &format!("kafka://127.0.0.1:1?{property}")]).await;
        assert!(line.contains(word) && !line.contains("s3cret"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_at_once_and_not_repeated() {
    let url = tokio::task::block_in_place(shared).replace("guest:guest", "guest:wrong-pw");
    let line = refusal(&["--broker", &url]).await;
    assert!(line.contains("password") && !line.contains("wrong-pw"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_none_is_told_before_anything_starts() {
    for broker in ["http://localhost", "amqp://", "kafka://", "nonsense"] {
        let line = refusal(&["--broker", broker]).await;
        assert!(!line.is_empty(), "{broker}");
    }
}
