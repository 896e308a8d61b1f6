//! An app from outside its run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul::consumer::{Consumer, Incoming, MemoryBroker, Message, Subscription};
use downhaul::testing::TestApp;
use downhaul::{
    App, AppHandle, BoxError, Component, ConsumerWorker, Context, Ending, Handle, Refused, Report,
    Signal, State,
};
use futures_util::future::join;
use tokio::sync::Notify;

use crate::fixture::Diary;
use crate::scripted::Scripted;

/// A running app of store ← worker ← web.
struct Running {
    diary: Diary,
    test: TestApp,
    app: AppHandle,
    parts: [Handle; 3],
}

impl Running {
    async fn start(worker: impl FnOnce(Scripted) -> Scripted) -> Self {
        let diary = Diary::default();
        let mut app = App::new("shop");
        let store = app.add("store", Scripted::new("store", &diary), []);
        let worker = app.add("worker", worker(Scripted::new("worker", &diary)), [store]);
        let web = app.add("web", Scripted::new("web", &diary), [worker]);
        let test = TestApp::start(app).await;
        Self { diary, app: test.handle(), test, parts: [store, worker, web] }
    }

    fn states(&self) -> Vec<State> {
        self.app.statuses().into_iter().map(|status| status.state).collect()
    }

    /// What happened since the start.
    fn later(&self) -> Vec<String> {
        self.diary.read().split_off(3)
    }

    async fn stop(self) -> Report {
        self.app.stop_app("enough").await;
        self.test.ended().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_stops_after_those_that_need_it_and_starts_before_them() {
    let running = Running::start(|worker| worker).await;
    let [_, worker, web] = running.parts;
    let status = running.app.stop(worker).await.unwrap();
    assert_eq!(status.state, State::Stopped);
    assert_eq!(running.states(), [State::Running, State::Stopped, State::Stopped]);
    assert_eq!(running.app.not_ready().unwrap(), "worker is stopped");
    let status = running.app.start(web).await.unwrap();
    assert_eq!(status.state, State::Running);
    assert_eq!(running.app.not_ready(), None);
    let expected = ["web stopped", "worker stopped", "worker started", "web started"];
    assert_eq!(running.later(), expected);
    assert_eq!(running.stop().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_over_when_the_component_is_up_again() {
    let running = Running::start(|worker| worker.takes(Duration::from_secs(1))).await;
    let status = running.app.restart(running.parts[1]).await.unwrap();
    assert_eq!((status.state, status.starts), (State::Running, 2));
    assert_eq!(running.later()[..3], ["web stopped", "worker stopped", "worker started"]);
    assert!(running.app.start(running.parts[2]).await.unwrap().state.is_up());
    assert_eq!(running.stop().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn verbs_are_idempotent() {
    let running = Running::start(|worker| worker).await;
    let web = running.parts[2];
    for _ in 0..2 {
        assert_eq!(running.app.stop(web).await.unwrap().state, State::Stopped);
    }
    for _ in 0..2 {
        assert_eq!(running.app.start(web).await.unwrap().starts, 2);
    }
    assert_eq!(running.later(), ["web stopped", "web started"]);
}

/// Waits, but not for ever.
async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, waiting).await.expect("somebody waits for ever")
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_what_is_being_started_begins_anew() {
    let running = Running::start(|worker| worker.takes(Duration::from_secs(1))).await;
    let (app, worker) = (&running.app, running.parts[1]);
    app.stop(worker).await.unwrap();
    let restart = async {
        while app.status(worker).unwrap().state != State::Starting {
            tokio::task::yield_now().await;
        }
        app.restart(worker).await
    };
    let (started, restarted) = soon(join(app.start(worker), restart)).await;
    assert!(started.unwrap().state.is_up());
    let restarted = restarted.unwrap();
    assert_eq!((restarted.state, restarted.starts), (State::Running, 3));
    assert_eq!(running.stop().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_another_has_asked_otherwise_is_told_how_far_it_came() {
    let running = Running::start(|worker| worker.takes(Duration::from_secs(1))).await;
    let (app, [store, worker, web]) = (&running.app, running.parts);
    let (stopped, started) = soon(join(app.stop(worker), app.start(worker))).await;
    assert_eq!(stopped.unwrap().state, State::Running);
    assert_eq!(started.unwrap().state, State::Running);

    let (restarted, stopped) = soon(join(app.restart(worker), app.stop(worker))).await;
    assert!(!restarted.unwrap().state.is_up());
    assert!(!stopped.unwrap().state.is_up());

    let (started, stopped) = soon(join(app.start(web), app.stop(store))).await;
    assert!(!started.unwrap().state.is_up());
    assert_eq!(stopped.unwrap().state, State::Stopped);
    assert_eq!(running.stop().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_again_is_refused_and_goes_on() {
    let running = Running::start(Scripted::only_once).await;
    let [store, worker, _] = running.parts;
    let refused = Refused::CannotRestart { name: "worker".to_owned() };
    assert_eq!(running.app.restart(store).await.unwrap_err(), refused);
    assert_eq!(running.states(), [State::Running; 3]);
    running.app.stop(worker).await.unwrap();
    assert_eq!(running.app.start(worker).await.unwrap_err(), refused);
}

#[tokio::test(start_paused = true)]
async fn a_program_can_stop_its_app_which_is_a_clean_end() {
    let report = Running::start(|worker| worker).await.stop().await;
    assert_eq!((report.ending.clone(), &*report.cause), (Ending::Clean, "enough"));
}

#[tokio::test(start_paused = true)]
async fn components_that_do_not_need_each_other_start_at_the_same_time() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let slow = |name| Scripted::new(name, &diary).takes(Duration::from_secs(5));
    let both = [app.add("left", slow("left"), []), app.add("right", slow("right"), [])];
    app.add("web", slow("web"), both);
    let app = TestApp::start(app).await;
    assert_eq!(app.events().last().unwrap().after.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_over_refuses_and_is_waited_for_by_nobody() {
    let app = App::new("shop");
    let handle = app.handle();
    let waiting = tokio::spawn(async move { handle.ready().await });
    drop(app);
    assert!(!waiting.await.unwrap());

    let running = Running::start(|worker| worker).await;
    let (handle, [store, ..]) = (running.app.clone(), running.parts);
    running.stop().await;
    assert_eq!(handle.stop(store).await.unwrap_err(), Refused::NotRunning);
    handle.stop_app("again").await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_of_another_app_is_refused() {
    let mut other = App::new("other");
    let stranger = other.add("x", Scripted::new("x", &Diary::default()), []);
    let running = Running::start(|worker| worker).await;
    assert_eq!(running.app.stop(stranger).await.unwrap_err(), Refused::Stranger);
    assert!(running.app.status(stranger).is_none());
}

/// A component that is up when it is told so.
struct Prompted {
    up: Arc<Notify>,
    diary: Diary,
}

#[async_trait]
impl Component for Prompted {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        self.diary.write("starting");
        self.up.notified().await;
        self.diary.write("started");
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        self.diary.write("stopped");
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_up_just_when_the_app_stops_is_stopped() {
    let (up, diary) = (Arc::new(Notify::new()), Diary::default());
    let mut app = App::new("shop");
    app.add("store", Prompted { up: Arc::clone(&up), diary: diary.clone() }, []);
    let app = TestApp::spawn(app);
    while diary.read().is_empty() {
        tokio::task::yield_now().await;
    }
    // Both in one turn: the app interrupts the start, which is over when it hears of that.
    app.signal(Signal::Terminate);
    up.notify_one();
    let report = app.ended().await;
    assert_eq!(diary.read(), ["starting", "started", "stopped"]);
    assert!(report.took < Duration::from_secs(1), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_starts_no_need_again_that_cannot_be() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let store = app.add("store", Scripted::new("store", &diary).only_once(), []);
    let web = app.add("web", Scripted::new("web", &diary), [store]);
    let handle = app.handle();
    let (_signals, receiver) = tokio::sync::mpsc::channel(1);
    let _running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);
    handle.stop(store).await.unwrap();
    let refused = Refused::CannotRestart { name: "store".to_owned() };
    assert_eq!(handle.restart(web).await.unwrap_err(), refused);
    assert_eq!(diary.read(), ["store started", "web started", "web stopped", "store stopped"]);
}

#[tokio::test(start_paused = true)]
async fn what_never_started_may_be_started_though_it_cannot_be_a_second_time() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let slow = Scripted::new("store", &diary).takes(Duration::from_secs(5));
    let store = app.add("store", slow, []);
    let web = app.add("web", Scripted::new("web", &diary).only_once(), [store]);
    let handle = app.handle();
    let (_signals, receiver) = tokio::sync::mpsc::channel(1);
    let _running = tokio::spawn(app.run_with(receiver));
    assert!(handle.start(web).await.unwrap().state.is_up());
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_not_over_while_what_needs_the_component_stops() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let store = app.add("store", Scripted::new("store", &diary), []);
    let policy = downhaul::Policy::new().stop_within(Duration::from_secs(2)).optional();
    let web = app.add("web", Scripted::new("web", &diary).never_stops(), [store]);
    app.policy(web, policy);
    let handle = app.handle();
    let (_signals, receiver) = tokio::sync::mpsc::channel(1);
    let _running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);
    assert_eq!(handle.restart(store).await.unwrap().starts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_had_by_its_own_handle_once_it_has_started() {
    let handle = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(Subscription::new("orders"), handle);
    let mut app = App::new("shop");
    let store = app.add("store", Scripted::new("store", &Diary::default()), []);
    let broker = Arc::new(MemoryBroker::new());
    let orders = app.add("orders", ConsumerWorker::new(consumer, broker), [store]);
    let mut other = App::new("other");
    let strangers: Vec<_> =
        ["a", "b"].map(|name| other.add(name, Scripted::new(name, &Diary::default()), [])).into();
    let apps = app.handle();
    assert!(apps.consumer(orders).is_none(), "it has not started");
    let app = TestApp::start(app).await;
    assert_eq!(apps.consumer(orders).unwrap().name(), "orders");
    assert!(apps.consumer(store).is_none(), "it is none");
    assert!(strangers.into_iter().all(|other| apps.consumer(other).is_none()), "another app's");
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_again_is_not_by_the_start_of_what_it_needs_either() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let store = app.add("store", Scripted::new("store", &diary), []);
    let once = app.add("once", Scripted::new("once", &diary).only_once(), [store]);
    let app = TestApp::start(app).await;
    let handle = app.handle();
    handle.stop(store).await.unwrap();
    let refused = Refused::CannotRestart { name: "once".to_owned() };
    assert_eq!(handle.start(store).await.unwrap_err(), refused);
    // One that is kept down is not started with it.
    handle.stop(once).await.unwrap();
    assert!(handle.start(store).await.unwrap().state.is_up());
    app.stop().await;
    assert_eq!(diary.read()[..2], ["store started", "once started"]);
    assert_eq!(diary.read().iter().filter(|line| *line == "once started").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_is_under_way_is_no_second_one() {
    let diary = Diary::default();
    let once = Scripted::new("once", &diary).only_once().takes(Duration::from_secs(5));
    let mut app = App::new("shop");
    let once = app.add("once", once, []);
    let web = app.add("web", Scripted::new("web", &diary), [once]);
    let app = TestApp::spawn(app);
    app.until("once starting", 1).await;
    assert!(app.handle().start(web).await.unwrap().state.is_up());
    app.stop().await.assert_clean();
}
