//! One request id, from the socket to the last log line.

use downhaul::RequestId;
use downhaul_testkit::rabbitmq::shared;
use serde_json::Value;

use crate::kafka::Cluster;
use crate::service::{Service, json_of, text};

/// A request id stands in the response header, in the HTTP log line and in the consumers' log
/// lines.
async fn one_id_everywhere(broker: &str, format: &str) {
    let service = Service::start(&["--broker", broker, "--log", format]).await;
    let id = RequestId::generate().to_string();
    let request = service.client().post(format!("http://{}/orders", service.listen()));
    let order = r#"{"product":"p-1","quantity":1}"#;
    let placed = request.header("x-request-id", &id).body(order).send().await.unwrap();
    assert_eq!(placed.status(), 202);
    assert_eq!(placed.headers()["x-request-id"], id.as_str());
    let placed = json_of(placed).await;
    assert_eq!(placed["request_id"], id.as_str());

    let path = format!("/orders/{}", text(&placed["id"]));
    let confirmed = async || service.get(&path).await.1["status"] == "confirmed";
    service.until("the order is confirmed", confirmed).await;
    assert_eq!(service.get(&path).await.1["request_id"], id.as_str());

    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    let about = |words: &str| {
        let line = ended.output.lines().find(|line| line.contains(words) && line.contains(&id));
        line.unwrap_or_else(|| panic!("no line says `{words}` with {id}\n{}", ended.output))
    };
    let lines = ["request ended", "order placed", "stock decided", "order settled"].map(about);
    for line in lines {
        match format {
            "json" => {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["request_id"], id.as_str(), "at the top level");
            }
            _ => assert!(line.contains(&format!("request_id={id}")), "{line}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_one_request_id_stands_on_every_line_of_both_sides() {
    one_id_everywhere("memory:", "text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_one_request_id_is_a_top_level_field_of_json_lines() {
    one_id_everywhere("memory:", "json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_one_request_id_stands_on_every_line_of_both_sides() {
    let broker = tokio::task::block_in_place(shared);
    let (broker, _vhost) = crate::broker_loss::vhost(&broker);
    one_id_everywhere(&broker, "text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kafka_one_request_id_stands_on_every_line_of_both_sides() {
    let cluster = Cluster::new().await;
    one_id_everywhere(&cluster.url(), "text").await;
}
