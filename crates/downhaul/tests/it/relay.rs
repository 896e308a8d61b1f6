//! The relay of an outbox as a component.

use std::sync::Arc;
use std::time::Duration;

use downhaul::consumer::outbox::{Relay, RelayHandle};
use downhaul::consumer::{Broker, MemoryBroker, Publisher, StoreErrorKind, Subscription};
use downhaul::testing::TestApp;
use downhaul::{
    App, BrokerLink, Component, Context, Ending, Handle, Instant, Outcome, Policy, RelayWorker,
    Restart,
};
use serde_json::json;
use tokio::time::sleep;

use crate::control::Fixture;
use crate::rows::{Is, Rows};

const SECOND: Duration = Duration::from_secs(1);
const LEFT: &str = "1 message of the outbox on the way to the broker";

/// A broker with a queue for all that is published.
async fn broker() -> Arc<MemoryBroker> {
    let (broker, queue) = (MemoryBroker::new(), Subscription::new("q").topic("t"));
    drop(broker.source(&Context::background(), &queue).await.unwrap());
    Arc::new(broker)
}

async fn relay(rows: &Arc<Rows>) -> (Arc<MemoryBroker>, Relay) {
    let broker = broker().await;
    (broker.clone(), Relay::new(rows.clone(), Publisher::new(broker)))
}

/// An app of a broker and the relay that needs it.
fn app(broker: Arc<MemoryBroker>, relay: Relay) -> (App, Handle) {
    let mut app = App::new("shop");
    let link = BrokerLink::new(broker.clone(), Publisher::new(broker));
    let link = app.add("broker", link, []);
    let relay = app.add("outbox", RelayWorker::new(relay), [link]);
    (app, relay)
}

/// The component alone, at work.
async fn at_work(worker: impl FnOnce(Relay) -> RelayWorker) -> (Arc<Rows>, Worker) {
    let rows = Rows::new();
    let (broker, relay) = relay(&rows).await;
    let (handle, worker, ctx) = (relay.handle(), worker(relay), Context::background());
    worker.start(&ctx).await.unwrap();
    (rows, Worker { broker, handle, worker })
}

struct Worker {
    broker: Arc<MemoryBroker>,
    handle: RelayHandle,
    worker: RelayWorker,
}

#[tokio::test(start_paused = true)]
async fn a_relay_publishes_while_its_app_runs_and_stops_before_its_broker() {
    let rows = Rows::new();
    let (broker, relay) = relay(&rows).await;
    let handle = relay.handle();
    let app = TestApp::start(app(broker, relay).0).await;
    (1..=3).for_each(|number| rows.put(number));
    handle.wait_for(|seen| seen.published == 3).await;
    let report = app.stop().await;
    report.assert_clean();
    app.assert_order(["broker started", "outbox started", "outbox stopped", "broker stopped"]);
    let words = "3 messages published, 0 left in the outbox";
    assert_eq!(report.component("outbox").words, words);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_told_to_stop_finishes_its_try_takes_no_more_and_says_what_is_left() {
    let rows = Rows::new();
    let (broker, relay) = relay(&rows).await;
    let handle = relay.handle();
    let app = TestApp::start(app(broker.clone(), relay.window(1)).0).await;
    broker.set_reachable(false);
    (1..=3).for_each(|number| rows.put(number));
    handle.wait_for(|seen| seen.in_hand == 1).await;
    let begun = Instant::now();
    let report = app.stop().await;
    report.assert_clean();
    assert!(begun.elapsed() >= 9 * SECOND, "{:?}", begun.elapsed());
    let words = "0 messages published, 3 left in the outbox";
    assert_eq!(report.component("outbox").words, words);
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_time_to_stop_is_over_gives_back_what_it_has_in_hand_and_names_it() {
    let rows = Rows::new();
    let (broker, relay) = relay(&rows).await;
    let handle = relay.handle();
    let (mut app, relay) = app(broker.clone(), relay);
    app.policy(relay, Policy::new().stop_within(2 * SECOND));
    let app = TestApp::start(app).await;
    broker.set_reachable(false);
    rows.put(1);
    handle.wait_for(|seen| seen.in_hand == 1).await;
    let report = app.stop().await;
    let outbox = report.component("outbox");
    assert_eq!((outbox.outcome, &*outbox.unfinished), (Outcome::Cancelled, &[LEFT.to_owned()][..]));
    assert_eq!(outbox.words, "0 messages published", "there was no time to count");
    let backlog = downhaul::consumer::outbox::Outbox::backlog(&*rows).await.unwrap();
    assert_eq!((backlog.pending, backlog.in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_degrades_a_relay_and_is_no_reason_not_to_be_ready() {
    let (rows, Worker { broker, handle, worker }) =
        at_work(|relay| RelayWorker::new(relay).ready_with_outbox()).await;
    broker.set_reachable(false);
    (1..=3).for_each(|number| rows.put(number));
    handle.wait_for(|seen| seen.stall.is_some()).await;
    sleep(SECOND).await; // tidy: on the paused clock
    assert_eq!(worker.not_ready(), None);
    let why = worker.degraded().unwrap();
    let words =
        "nothing of the outbox gets through for 11 s, 3 messages wait, the oldest for 10 s: ";
    assert!(why.starts_with(words) && why.contains("unreachable"), "{why}");
    broker.set_reachable(true);
    handle.wait_for(|seen| seen.published == 3).await;
    assert_eq!(worker.degraded(), None);
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_is_away_degrades_its_relay_or_is_a_reason_where_that_is_wished() {
    let wished = |relay| RelayWorker::new(relay).ready_with_outbox();
    for (worker, is_reason) in
        [(RelayWorker::new as fn(Relay) -> RelayWorker, false), (wished, true)]
    {
        let (rows, Worker { handle, worker, .. }) = at_work(worker).await;
        assert_eq!((worker.not_ready(), worker.degraded()), (None, None));
        rows.set(Is::Away(StoreErrorKind::Failed));
        handle.wait_for(|seen| seen.store_fault.is_some()).await;
        let words = Some("the outbox cannot be reached for 0 s: no disk".to_owned());
        let said = if is_reason { (words, None) } else { (None, words) };
        assert_eq!((worker.not_ready(), worker.degraded()), said);
        rows.set(Is::There);
        handle.wait_for(|seen| seen.store_fault.is_none()).await;
        assert_eq!((worker.not_ready(), worker.degraded()), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_is_not_there_yet_is_waited_for() {
    let rows = Rows::new();
    rows.set(Is::Away(StoreErrorKind::Busy));
    let (broker, relay) = relay(&rows).await;
    let handle = relay.handle();
    let app = TestApp::spawn(app(broker, relay).0);
    handle.wait_for(|seen| seen.store_fault.is_some()).await;
    let why = "starting: outbox: the outbox cannot be reached for 0 s: no disk";
    assert_eq!(app.handle().not_ready().as_deref(), Some(why));
    rows.set(Is::There);
    app.ready().await;
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_can_never_be_used_stops_the_start() {
    let rows = Rows::new();
    rows.set(Is::Away(StoreErrorKind::Configuration));
    let (broker, relay) = relay(&rows).await;
    let report = TestApp::spawn(app(broker, relay).0).ended().await;
    let why = "outbox: the outbox cannot be used: no disk".to_owned();
    assert_eq!(report.ending, Ending::NotStarted(why));
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_outbox_panics_has_failed_and_is_started_again() {
    let rows = Rows::new();
    let (broker, relay) = relay(&rows).await;
    let handle = relay.handle();
    let (mut app, relay) = app(broker, relay);
    app.policy(relay, Policy::new().restart(Restart::new()));
    let app = TestApp::start(app).await;
    rows.set(Is::Broken);
    app.until("outbox failed", 1).await;
    rows.set(Is::There);
    rows.put(1);
    handle.wait_for(|seen| seen.published == 1).await;
    app.stop().await.assert_clean();
}

#[tokio::test]
async fn relays_whose_outboxes_are_away_are_told_by_name_by_the_readiness_probe() {
    let rows = Rows::new();
    let ((_, orders), (_, bills)) = (relay(&rows).await, relay(&rows).await);
    let fixture = Fixture::of(None, |app| {
        app.add("orders", RelayWorker::new(orders), []);
        app.add("bills", RelayWorker::new(bills), []);
    })
    .await;
    assert_eq!(fixture.get("/health/ready").await, (200, json!({ "status": "ready" })));
    rows.set(Is::Away(StoreErrorKind::Failed));
    let mut ready = fixture.get("/health/ready").await;
    while ready.1["degraded"].as_array().is_none_or(|wrong| wrong.len() < 2) {
        ready = fixture.get("/health/ready").await;
    }
    for (index, name) in ["orders", "bills"].into_iter().enumerate() {
        let why = ready.1["degraded"][index].as_str().unwrap();
        let words = format!("{name}: the outbox cannot be reached for ");
        assert!(ready.0 == 200 && why.starts_with(&words), "{why}");
    }
    rows.set(Is::There);
    fixture.stop().await.assert_clean();
}
