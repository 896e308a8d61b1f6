//! SIGTERM, once and twice.

use downhaul_testkit::rabbitmq::shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker_loss::vhost;
use crate::service::Service;

/// The exit code of a process that ended by itself.
fn code(ended: &crate::service::Ended) -> Option<i32> {
    ended.status.code()
}

/// How many orders a process of the service says that it has settled and left.
fn accounted(output: &str) -> (usize, usize) {
    let line = output.lines().find(|line| line.contains("orders confirmed,")).unwrap();
    let number = |before: &str| {
        let text = line.split(before).next().unwrap().trim_end();
        text.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    (number(" orders confirmed"), number(" pending"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_begun_and_a_restart_settles_the_rest() {
    let broker = tokio::task::block_in_place(shared);
    let (broker, _vhost) = vhost(&broker);
    let arguments = ["--broker", &broker, "--stock", "500", "--work-ms", "500"];
    let first = Service::start(&arguments).await;
    let accepted = first.place_many(200).await;
    let ended = first.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
    assert!(ended.output.contains("orders stopped cleanly, after SIGTERM"), "{}", ended.output);
    let (confirmed, pending) = accounted(&ended.output);
    assert_eq!(confirmed + pending, accepted.len(), "the report accounts for every order");
    assert!(pending > 0, "all were settled before the signal: this proves nothing");

    let second = Service::start(&["--broker", &broker, "--stock", "500"]).await;
    let left = async || {
        let stats = second.stats().await;
        stats["pending"] == 0 && stats["confirmed"].as_u64() >= u64::try_from(pending).ok()
    };
    second.until("the rest is settled", left).await;
    // Nothing was settled twice as two orders, and none was lost.
    let stats = second.until_settled(500).await;
    assert_eq!(stats["rejected"], 0);
    assert_eq!(code(&second.stop().await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_half_sent_at_sigterm_is_still_answered() {
    let service = Service::start(&["--work-ms", "10"]).await;
    let body = r#"{"product":"p-1","quantity":1}"#;
    let mut client = TcpStream::connect(service.listen()).await.unwrap();
    let head =
        format!("POST /orders HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body.as_bytes()[..10]).await.unwrap();
    // An answered request behind it on another connection shows that the head has been read by now.
    service.place_many(1).await;
    service.signal("TERM").await;
    service.until("it is told to stop", async || service.ready().await == 503).await;
    client.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let ended = service.ended().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_it_is_not_ready_and_says_why() {
    let service = Service::start(&["--work-ms", "1500"]).await;
    service.place_many(1).await;
    service.signal("TERM").await;
    service.until("it is told to stop", async || service.ready().await == 503).await;
    let (_, body) = service.control("GET", "/health/ready").await;
    assert_eq!(body["reason"], "draining: SIGTERM");
    assert_eq!(service.control("GET", "/health/live").await.0, 200);
    assert_eq!(code(&service.ended().await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_it_with_its_code_and_names_what_was_cut_short() {
    let service = Service::start(&["--work-ms", "60000"]).await;
    service.place_many(3).await;
    service
        .until("three are being handled", async || {
            let (_, consumers) = service.control("GET", "/consumers").await;
            consumers[1]["in_flight"] == 3
        })
        .await;
    service.signal("TERM").await;
    service.until("it is told to stop", async || service.ready().await == 503).await;
    service.signal("TERM").await;
    let ended = service.ended().await;
    assert_eq!(code(&ended), Some(143), "{}", ended.output);
    assert!(ended.output.contains("forced to stop by a second signal"), "{}", ended.output);
    let named = ended.output.matches("not finished: message ").count();
    assert_eq!(named, 3, "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_it_cleanly_too() {
    let service = Service::start(&[]).await;
    service.signal("INT").await;
    let ended = service.ended().await;
    assert_eq!(code(&ended), Some(0));
    assert!(ended.output.contains("stopped cleanly, after SIGINT"), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_that_nobody_reads_hold_neither_the_service_nor_its_stop_up() {
    let service = Service::start_unread().await;
    // Some hundred kilobytes of lines, into a pipe that takes 64.
    service.place_many(400).await;
    service.until_settled(1000).await;
    let ended = service.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
}
