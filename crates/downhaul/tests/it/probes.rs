//! What probes are told, over real HTTP.

use std::future::pending;
use std::sync::{Mutex, mpsc};

use async_trait::async_trait;
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Component, Context, Job, Policy, Signal};
use serde_json::json;

use crate::control::Fixture;
use crate::fixture::{Diary, Manner, Part};

const SILENT: &str = "speechless does not say whether it is ready";

/// Blocks whoever asks whether it is ready, until the test drops what lets it go.
struct Speechless(Mutex<mpsc::Receiver<()>>);

#[async_trait]
impl Component for Speechless {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        String::new()
    }

    fn not_ready(&self) -> Option<String> {
        let _ = self.0.lock().unwrap().recv();
        None
    }
}

#[tokio::test]
async fn a_component_that_does_not_say_whether_it_is_ready_holds_up_no_probe() {
    let (lets_go, until) = mpsc::channel();
    let speechless = Speechless(Mutex::new(until));
    let fixture = Fixture::of(None, |app| {
        app.add("speechless", speechless, []);
    })
    .await;
    for _ in 0..2 {
        let (status, body) = fixture.get("/health/ready").await;
        assert_eq!((status, &body["reason"]), (503, &json!(SILENT)));
    }
    assert_eq!(fixture.get("/health/live").await.0, 200);
    drop(lets_go);
    while fixture.get("/health/ready").await.0 != 200 {}
    fixture.stop().await.assert_clean();
}

#[tokio::test]
async fn a_component_that_does_not_say_whether_it_is_ready_keeps_none_that_can_be_done_without() {
    let (_lets_go, until) = mpsc::channel();
    let fixture = Fixture::of(None, |app| {
        let speechless = app.add("speechless", Speechless(Mutex::new(until)), []);
        app.policy(speechless, Policy::new().optional());
    })
    .await;
    let (status, body) = fixture.get("/health/ready").await;
    assert_eq!((status, &body["degraded"]), (200, &json!([SILENT])));
}

/// Panics when it is asked whether it is ready.
struct Poisoned;

#[async_trait]
impl Component for Poisoned {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        String::new()
    }

    fn not_ready(&self) -> Option<String> {
        panic!("a lock is poisoned")
    }
}

#[tokio::test]
async fn a_component_that_panics_when_it_is_asked_whether_it_is_ready_is_named() {
    let mut app = App::new("shop");
    app.add("store", Poisoned, []);
    let app = TestApp::start(app).await;
    let why = "store does not say whether it is ready: it panicked: a lock is poisoned";
    assert_eq!(app.handle().not_ready().as_deref(), Some(why));
    let fixture = Fixture::of(None, |app| {
        app.add("store", Poisoned, []);
    })
    .await;
    let (status, body) = fixture.get("/health/ready").await;
    assert_eq!((status, &body["reason"]), (503, &json!(why)));
}

#[tokio::test]
async fn an_app_that_stops_before_it_has_started_never_says_that_it_has() {
    let slow = Part::new("slow", Manner::Stubborn, &Diary::default());
    let fixture = Fixture::spawn(None, |app| {
        app.add("slow", slow, []);
        app.add("never", Job::new(|_ctx| pending::<Result<(), BoxError>>()), []);
    });
    fixture.app.until("slow started", 1).await;
    assert_eq!(fixture.get("/health/startup").await.0, 503);
    fixture.app.signal(Signal::Terminate);
    fixture.app.until("slow stopping", 1).await;
    let (status, body) = fixture.get("/health/startup").await;
    assert_eq!((status, &body["reason"]), (503, &json!("draining: SIGTERM")));
    fixture.app.signal(Signal::Terminate);
    fixture.stop().await;
}
