//! The broker goes away under the service.

use downhaul_testkit::rabbitmq::{Node, shared_ctl, unique};
use futures_util::future::join_all;

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
    let service = Service::start(&["--broker", &url, "--stock", "100000", "--work-ms", "5"]).await;
    let mut accepted = service.place_many(64).await;

    node.kill();
    service.until("the loss is seen", async || service.ready().await == 503).await;
    // Nothing is accepted while the broker is away: 503, or 504 where its answer is not known.
    let placing: Vec<_> = (0..8).map(|_| service.place("p-1", 1)).collect();
    for placed in join_all(placing).await {
        let status = placed.unwrap().status().as_u16();
        assert!(status == 503 || status == 504, "{status}");
    }

    tokio::task::block_in_place(|| node.restart().unwrap());
    service.until("it is ready again", async || service.ready().await == 200).await;
    accepted.extend(service.place_many(64).await);
    for id in accepted {
        let path = format!("/orders/{id}");
        let confirmed = async || service.get(&path).await.1["status"] == "confirmed";
        service.until("an accepted order is confirmed", confirmed).await;
    }
    service.until_settled(100_000).await;
    let ended = service.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_placed_while_the_broker_is_away_is_a_503_that_says_to_try_again() {
    let mut node = tokio::task::block_in_place(|| Node::start().unwrap());
    let service = Service::start(&["--broker", &node.url()]).await;
    node.kill();
    service.until("the loss is seen", async || service.ready().await == 503).await;
    // The first may meet a link that nobody has seen break: its outcome is unknown then.
    service.place("p-1", 1).await.unwrap();
    let refused = service.place("p-1", 1).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body = json_of(refused).await;
    assert!(text(&body["message"]).contains("try again"), "{body}");
    assert!(!text(&body["request_id"]).is_empty(), "{body}");
    // It stops in order also without its broker.
    let ended = service.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}
