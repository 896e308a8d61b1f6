//! How long a component may take.

use std::time::Duration;

use downhaul::{App, AppHandle, Handle, Outcome, Policy, Report};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::fixture::Diary;
use crate::scripted::Scripted;

fn start(part: Scripted, policy: Policy) -> (AppHandle, Handle, JoinHandle<Report>) {
    let mut app = App::new("shop");
    let part = app.add("store", part, []);
    app.policy(part, policy);
    let handle = app.handle();
    let (_none, receiver) = mpsc::channel(1);
    (handle, part, tokio::spawn(app.run_with(receiver)))
}

fn stubborn() -> Scripted {
    Scripted::new("store", &Diary::default()).never_stops()
}

#[tokio::test(start_paused = true)]
async fn a_component_may_have_its_own_time_to_start() {
    let slow = || Scripted::new("store", &Diary::default()).takes(Duration::from_secs(20));
    let (app, _, _running) = start(slow(), Policy::new().start_within(Duration::from_secs(21)));
    assert!(app.ready().await, "longer than the app's 10 s");
    let short = Policy::new().start_within(Duration::from_secs(2));
    let (_, _, running) = start(slow(), short);
    let report = running.await.unwrap();
    assert_eq!(report.to_string(), "shop did not start: store: not started within 2s");
}

#[tokio::test(start_paused = true)]
async fn a_component_gets_no_more_time_to_stop_than_its_own() {
    let (app, _, running) = start(stubborn(), Policy::new().stop_within(Duration::from_secs(3)));
    assert!(app.ready().await);
    app.stop_app("enough").await;
    let report = running.await.unwrap();
    let store = &report.components[0];
    assert_eq!((store.outcome, store.allowed), (Outcome::Abandoned, Duration::from_secs(3)));
    assert!(store.took <= store.allowed, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_under_way_gets_no_more_time_when_the_app_stops() {
    let (app, store, running) =
        start(stubborn(), Policy::new().stop_within(Duration::from_secs(5)));
    assert!(app.ready().await);
    let by_hand = app.clone();
    tokio::spawn(async move { by_hand.stop(store).await });
    // tidy: the clock is paused
    sleep(Duration::from_secs(4)).await;
    let began = Instant::now();
    app.stop_app("enough").await;
    running.await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}
