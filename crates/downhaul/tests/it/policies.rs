//! How long a component may take.

use std::time::Duration;

use async_trait::async_trait;
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Component, Context, Handle, Outcome, Policy, Signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::capture::Capture;
use crate::fixture::Diary;
use crate::scripted::Scripted;

fn app(part: Scripted, policy: Policy) -> (App, Handle) {
    let mut app = App::new("shop");
    let part = app.add("store", part, []);
    app.policy(part, policy);
    (app, part)
}

fn stubborn() -> Scripted {
    Scripted::new("store", &Diary::default()).never_stops()
}

#[tokio::test(start_paused = true)]
async fn a_component_may_have_its_own_time_to_start() {
    let slow = || Scripted::new("store", &Diary::default()).takes(Duration::from_secs(20));
    let within = |secs| Policy::new().start_within(Duration::from_secs(secs));
    // Longer than the app's 10 s.
    let _up = TestApp::start(app(slow(), within(21)).0).await;
    let report = TestApp::spawn(app(slow(), within(2)).0).ended().await;
    assert_eq!(report.to_string(), "shop did not start: store: not started within 2s");
}

#[tokio::test(start_paused = true)]
async fn a_component_gets_no_more_time_to_stop_than_its_own() {
    let app = app(stubborn(), Policy::new().stop_within(Duration::from_secs(3))).0;
    let report = TestApp::start(app).await.stop().await;
    let store = report.component("store");
    assert_eq!((store.outcome, store.allowed), (Outcome::Abandoned, Duration::from_secs(3)));
    assert!(store.took <= store.allowed, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_under_way_gets_no_more_time_when_the_app_stops() {
    let (app, store) = app(stubborn(), Policy::new().stop_within(Duration::from_secs(5)));
    let app = TestApp::start(app).await;
    let by_hand = app.handle();
    tokio::spawn(async move { by_hand.stop(store).await });
    // tidy: the clock is paused
    sleep(Duration::from_secs(4)).await;
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_component_is_a_lame_duck_for_half_of_its_time_at_most() {
    let lame = Scripted::new("store", &Diary::default()).lame_for_ever();
    let app = app(lame, Policy::new().stop_within(Duration::from_secs(4))).0;
    let report = TestApp::start(app).await.stop().await;
    let store = report.component("store");
    assert_eq!((store.outcome, store.took), (Outcome::Stopped, Duration::from_secs(2)), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_a_lame_duck() {
    let lame = Scripted::new("store", &Diary::default()).lame_for_ever();
    let app = app(lame, Policy::new()).0;
    let (handle, (signals, receiver)) = (app.handle(), mpsc::channel(2));
    let running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);
    signals.send(Signal::Terminate).await.unwrap();
    signals.send(Signal::Terminate).await.unwrap();
    let report = running.await.unwrap();
    let store = report.component("store");
    assert_eq!((store.outcome, store.took), (Outcome::Stopped, Duration::ZERO), "{report}");
}

#[tokio::test(start_paused = true)]
async fn the_last_moment_of_a_component_is_a_part_of_its_time_to_stop() {
    for cancel_grace in [Duration::from_millis(500), Duration::from_secs(60)] {
        let policy = Policy::new().stop_within(Duration::from_secs(1)).cancel_grace(cancel_grace);
        let report = TestApp::start(app(stubborn(), policy).0).await.stop().await;
        let store = report.component("store");
        assert_eq!((store.outcome, store.allowed), (Outcome::Abandoned, Duration::from_secs(1)));
        assert!(store.took <= store.allowed, "{report}");
    }
}

/// Panics as a lame duck, and writes down that it was asked to stop.
struct Lamest(Diary);

#[async_trait]
impl Component for Lamest {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn lame_duck(&self) {
        panic!("a lock is poisoned")
    }

    async fn stop(&self, ctx: &Context) -> String {
        self.0.write(format!("draining: {}", ctx.is_draining()));
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_panics_as_a_lame_duck_is_asked_to_stop_all_the_same() {
    let (diary, logged) = (Diary::default(), Capture::start());
    let mut app = App::new("shop");
    app.add("lamest", Lamest(diary.clone()), []);
    TestApp::start(app).await.stop().await.assert_clean();
    assert_eq!(diary.read(), ["draining: true"]);
    let lines = logged.lines("component=\"lamest\" error=\"it panicked: a lock is poisoned\"");
    assert!(lines[0].starts_with("WARN "), "{lines:?}");
}
