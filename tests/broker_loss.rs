//! The broker goes away under the service.

use std::sync::Arc;

use downhaul_testkit::rabbitmq::{Node, shared_ctl};
use downhaul_testkit::unique;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::service::{Service, json_of, text};

/// A vhost of this test's own on the shared node, so that services do not read each other's queues.
///
/// A node that was given by its URL has no vhosts to give: its tests must then run one at a time.
pub(crate) fn vhost(url: &str) -> (String, String) {
    let name = unique("orders");
    let add = || -> Option<()> {
        shared_ctl(&["add_vhost", &name])?.ok()?;
        shared_ctl(&["set_permissions", "-p", &name, "guest", ".*", ".*", ".*"])?.ok().map(|_| ())
    };
    let url = match tokio::task::block_in_place(add) {
        Some(()) => format!("{}/{name}", url.trim_end_matches("/%2f")),
        None => url.to_owned(),
    };
    (url, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_goes_on_after_its_broker_was_killed_and_no_accepted_order_is_lost() {
    let mut node = tokio::task::block_in_place(|| Node::start().unwrap());
    let url = node.url();
    let arguments = ["--broker", &url, "--stock", "100000", "--work-ms", "5"];
    let service = Arc::new(Service::start(&arguments).await);
    let (stop, stopped) = watch::channel(false);
    let flows: Vec<_> =
        (0..4).map(|_| tokio::spawn(flow(Arc::clone(&service), stopped.clone()))).collect();
    let confirmed = async |least: u64| service.stats().await["confirmed"].as_u64() >= Some(least);
    service.until("orders flow", async || confirmed(50).await).await;

    node.kill();
    service.until("the loss is seen", async || service.has_lost_its_link().await).await;
    tokio::task::block_in_place(|| node.restart().unwrap());
    service.until("it is there again", async || !service.has_lost_its_link().await).await;
    let before = service.stats().await["confirmed"].as_u64().unwrap();
    service.until("orders flow again", async || confirmed(before + 50).await).await;

    stop.send(true).unwrap();
    let accepted: Vec<String> =
        join_all(flows).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(accepted.len() >= 100);
    service.until_settled(100_000).await;
    for id in accepted {
        assert_eq!(service.get(&format!("/orders/{id}")).await.1["status"], "confirmed", "{id}");
    }
    let Ok(service) = Arc::try_unwrap(service) else { panic!("someone still has the service") };
    let ended = service.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
}

/// Places orders one after the other, and returns the ids of those that were accepted.
async fn flow(service: Arc<Service>, stopped: watch::Receiver<bool>) -> Vec<String> {
    let mut accepted = Vec::new();
    while !*stopped.borrow() {
        let placed = service.place("p-1", 1).await.unwrap();
        match placed.status().as_u16() {
            202 => accepted.push(text(&json_of(placed).await["id"])),
            // The broker is away, or did not answer in time.
            503 | 504 => {}
            other => panic!("{other}"),
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_placed_while_the_broker_is_away_is_a_503_that_says_to_try_again() {
    let mut node = tokio::task::block_in_place(|| Node::start().unwrap());
    let service = Service::start(&["--broker", &node.url()]).await;
    node.kill();
    service.until("the loss is seen", async || service.has_lost_its_link().await).await;
    // The first may meet a link that nobody has seen break: its outcome is unknown then.
    service.place("p-1", 1).await.unwrap();
    let refused = service.place("p-1", 1).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body = json_of(refused).await;
    assert!(text(&body["detail"]).contains("try again"), "{body}");
    assert!(!text(&body["request_id"]).is_empty(), "{body}");
    // It stops in order also without its broker.
    let ended = service.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_stays_in_doubt_is_named_and_the_end_is_not_clean() {
    let node = tokio::task::block_in_place(|| Node::start().unwrap());
    let arguments = ["--broker", &node.url(), "--grace", "5s"];
    let service = Service::start(&arguments).await;
    // With the first order the way to the broker is open. Then it takes nothing any more, and does
    // not say so.
    service.place_many(1).await;
    node.pause();
    let placed = service.place("p-1", 1).await.unwrap();
    assert_eq!(placed.status(), 504);
    let ended = service.stop().await;
    node.resume();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(ended.output.contains("not finished: order "), "{}", ended.output);
}
