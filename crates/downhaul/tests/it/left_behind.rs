//! What does not come back, or not in time.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::testing::TestApp;
use downhaul::{
    App, AppHandle, BoxError, Component, Context, Ending, Handle, Outcome, Policy, Refused,
    Restart, Signal, State, Status, Task,
};

use crate::fixture::{Diary, Manner, Part};
use crate::scripted::Scripted;

/// Blocks its thread while it starts, until the test drops what lets it go.
struct BlockedStart(Mutex<mpsc::Receiver<()>>);

impl BlockedStart {
    fn new() -> (Self, mpsc::Sender<()>) {
        let (lets_go, until) = mpsc::channel();
        (Self(Mutex::new(until)), lets_go)
    }
}

#[async_trait]
impl Component for BlockedStart {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        String::new()
    }

    fn can_restart(&self) -> bool {
        true
    }

    /// Waits for a lock that the start holds.
    fn in_flight(&self) -> Vec<String> {
        drop(self.0.lock().unwrap());
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_blocks_its_thread_is_over_when_its_time_is() {
    let diary = Diary::default();
    let (blocks, _lets_go) = BlockedStart::new();
    let mut app = App::new("shop").start_within(Duration::from_millis(50));
    let store = app.add("store", Part::new("store", Manner::Good, &diary), []);
    app.add("blocks", blocks, [store]);
    let report = TestApp::spawn(app).ended().await;
    let why = "blocks: not started within 50ms: it blocks its thread";
    assert_eq!(report.ending, Ending::NotStarted(why.to_owned()));
    assert_eq!(report.component("blocks").outcome, Outcome::Abandoned, "{report}");
    assert_eq!(diary.read(), ["store started", "store stopped"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_blocks_its_thread_does_not_keep_others_from_stopping() {
    let diary = Diary::default();
    let (blocks, _lets_go) = BlockedStart::new();
    let mut app = App::new("shop");
    let store = app.add("store", Part::new("store", Manner::Good, &diary), []);
    app.add("blocks", blocks, [store]);
    let app = TestApp::spawn(app);
    app.until("blocks starting", 1).await;
    app.signal(Signal::Terminate);
    let report = app.ended().await;
    assert_eq!((&report.ending, report.exit_code()), (&Ending::CutShort, 1), "{report}");
    assert_eq!(report.component("blocks").outcome, Outcome::Abandoned, "{report}");
    assert_eq!(diary.read(), ["store started", "store stopped"]);
}

const SOON: Duration = Duration::from_millis(50);

/// Starts a component as soon as the app lets it.
async fn start_when_let(app: &AppHandle, part: Handle) -> Status {
    loop {
        match app.start(part).await {
            Ok(status) => return status,
            Err(refused) => assert!(matches!(refused, Refused::AtWork { .. }), "{refused}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_was_given_up_is_not_tried_again_before_it_has_come_back() {
    let (blocks, lets_go) = BlockedStart::new();
    let mut app = App::new("shop");
    let blocks = app.add("blocks", blocks, []);
    app.policy(blocks, Policy::new().start_within(SOON).optional());
    let app = TestApp::spawn(app);
    app.until("blocks failed", 1).await;
    let refused = Refused::AtWork { name: "blocks".to_owned() };
    assert_eq!(app.handle().start(blocks).await.unwrap_err(), refused);
    drop(lets_go);
    assert_eq!(start_when_let(&app.handle(), blocks).await.starts, 2);
    app.stop().await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thread_that_did_not_stop_is_joined_by_no_second_one() {
    let (lets_go, until) = mpsc::channel::<()>();
    let until = Mutex::new(until);
    let task = Task::blocking(move |_ctx| {
        let _ = until.lock().unwrap().recv();
        Ok::<_, BoxError>(())
    });
    let mut app = App::new("shop");
    let task = app.add("task", task.may_end(), []);
    app.policy(task, Policy::new().stop_within(SOON));
    let app = TestApp::start(app).await;
    assert_eq!(app.handle().stop(task).await.unwrap().state, State::Failed);
    let refused = Refused::AtWork { name: "task".to_owned() };
    assert_eq!(app.handle().start(task).await.unwrap_err(), refused);
    drop(lets_go);
    assert_eq!(start_when_let(&app.handle(), task).await.starts, 2);
    app.stop().await.assert_clean();
}

/// Blocks its thread while it stops, until the test drops what lets it go.
struct BlockedStop(Mutex<mpsc::Receiver<()>>);

#[async_trait]
impl Component for BlockedStop {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        let _ = self.0.lock().unwrap().recv();
        String::new()
    }

    fn can_restart(&self) -> bool {
        true
    }

    fn is_at_work(&self) -> bool {
        false
    }

    /// Waits for a lock that the stop holds.
    fn in_flight(&self) -> Vec<String> {
        drop(self.0.lock().unwrap());
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_that_blocks_its_thread_is_over_when_its_time_is() {
    let (lets_go, until) = mpsc::channel();
    let mut app = App::new("shop");
    let blocks = app.add("blocks", BlockedStop(Mutex::new(until)), []);
    app.policy(blocks, Policy::new().stop_within(SOON).optional());
    let app = TestApp::start(app).await;
    // The app is ready without it.
    app.until("blocks started", 1).await;
    let handle = app.handle();
    let (stopped, ()) = tokio::join!(handle.stop(blocks), app.until("blocks failed", 1));
    assert_eq!(stopped.unwrap().state, State::Failed);
    let refused = Refused::AtWork { name: "blocks".to_owned() };
    assert_eq!(app.handle().start(blocks).await.unwrap_err(), refused);
    drop(lets_go);
    assert_eq!(start_when_let(&app.handle(), blocks).await.starts, 2);
    app.stop().await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_blocks_while_it_stops_is_not_asked_for_its_work_by_an_app_that_ends() {
    for is_forced in [false, true] {
        let (lets_go, until) = mpsc::channel();
        let mut app = App::new("shop");
        if !is_forced {
            app = app.grace(4 * SOON);
        }
        app.add("blocks", BlockedStop(Mutex::new(until)), []);
        let app = TestApp::start(app).await;
        app.signal(Signal::Terminate);
        app.until("blocks stopping", 1).await;
        if is_forced {
            app.signal(Signal::Terminate);
        }
        let report = app.ended().await;
        assert_eq!(report.component("blocks").outcome, Outcome::Abandoned, "{report}");
        drop(lets_go);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_at_work_is_not_started_once_what_it_needs_is_up_again_either() {
    let diary = Diary::default();
    let store = Scripted::new("store", &diary).takes_to_stop(SOON);
    let failure = store.failure();
    let mut app = App::new("shop");
    let store = app.add("store", store, []);
    app.policy(store, Policy::new().restart(Restart::new()));
    let web = app.add("web", Scripted::new("web", &diary).never_stops(), [store]);
    app.policy(web, Policy::new().stop_within(SOON).optional());
    let app = TestApp::start(app).await;
    assert_eq!(app.handle().stop(web).await.unwrap().state, State::Failed);
    failure.notify_one();
    app.until("store stopping", 1).await;
    let refused = Refused::AtWork { name: "web".to_owned() };
    assert_eq!(app.handle().start(web).await.unwrap_err(), refused);
}
