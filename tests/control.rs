//! Consumers are stopped and started while the service runs.

use serde_json::json;

use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn orders_pile_up_while_inventory_is_stopped_and_settle_when_it_starts() {
    let service = Service::start(&["--stock", "100"]).await;
    let (status, stopped) = service.control("POST", "/consumers/inventory/stop").await;
    assert_eq!((status, &stopped["state"]), (200, &json!("stopped")));
    service.place_many(20).await;
    assert_eq!(service.stats().await["pending"], 20);

    let (_, started) = service.control("POST", "/consumers/inventory/start").await;
    assert_eq!(started["state"], "running");
    let stats = service.until_settled(100).await;
    assert_eq!(stats["confirmed"], 20);
    assert!(service.stop().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_beyond_the_stock_is_rejected_and_takes_nothing() {
    let service = Service::start(&["--stock", "5"]).await;
    service.place_many(8).await;
    let stats = service.until_settled(5).await;
    assert_eq!((&stats["confirmed"], &stats["rejected"]), (&json!(5), &json!(3)));
    assert!(service.stop().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_listed_and_unknown_ones_are_a_404_with_the_known_names() {
    let service = Service::start(&[]).await;
    let (_, consumers) = service.control("GET", "/consumers").await;
    let names: Vec<_> =
        consumers.as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, [json!("orders"), json!("inventory")]);
    let (status, body) = service.control("POST", "/consumers/nobody/stop").await;
    assert_eq!(status, 404);
    assert!(body["detail"].as_str().unwrap().contains("known: orders, inventory"), "{body}");
}
