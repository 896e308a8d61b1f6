//! What fails is started again, with what needs it, until there is no point in it any more.

use std::sync::Arc;
use std::time::Duration;

use downhaul::testing::TestApp;
use downhaul::{
    App, AppHandle, Ending, Handle, Outcome, Policy, Refused, Report, Restart, Signal, State,
};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::fixture::Diary;
use crate::scripted::Scripted;

/// Longer than any wait before a start.
const AGES: Duration = Duration::from_secs(300);

/// A running app of store ← web, and metrics for itself.
struct Running {
    diary: Diary,
    app: AppHandle,
    store: Handle,
    metrics: Handle,
    /// Makes the store fail.
    failure: Arc<Notify>,
    /// Makes the metrics fail.
    metrics_failure: Arc<Notify>,
    test: TestApp,
}

impl Running {
    async fn start(store: impl FnOnce(Scripted) -> Scripted, policy: Policy) -> Self {
        let diary = Diary::default();
        let store = store(Scripted::new("store", &diary));
        let metrics = Scripted::new("metrics", &diary);
        let (failure, metrics_failure) = (store.failure(), metrics.failure());
        let mut app = App::new("shop");
        let store = app.add("store", store, []);
        app.policy(store, policy);
        app.add("web", Scripted::new("web", &diary), [store]);
        let metrics = app.add("metrics", metrics, []);
        app.policy(metrics, Policy::new().optional());
        let test = TestApp::start(app).await;
        let app = test.handle();
        Self { diary, app, store, metrics, failure, metrics_failure, test }
    }

    fn state(&self, part: Handle) -> State {
        self.app.status(part).unwrap().state
    }

    async fn stop(self) -> Report {
        self.test.stop().await
    }
}

fn restarts() -> Policy {
    Policy::new().restart(Restart::new())
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_started_again_and_what_needs_it_with_it_in_order() {
    let running = Running::start(|store| store, restarts()).await;
    running.failure.notify_one();
    // tidy: the clock is paused
    sleep(AGES).await;
    assert_eq!(running.state(running.store), State::Running);
    assert_eq!(running.app.status(running.store).unwrap().starts, 2);
    assert_eq!(running.app.not_ready(), None);
    let expected = ["web stopped", "store stopped", "store started", "web started"];
    let diary = running.diary.read();
    assert_eq!(diary[3..], expected, "the metrics went on: {diary:?}");
    let report = running.stop().await;
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::Clean, 0), "{report}");
    assert!(report.to_string().contains("started 2 times"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn while_it_rests_the_app_is_not_ready_and_says_why() {
    let policy = Policy::new()
        .restart(Restart::new().backoff(Duration::from_secs(60), Duration::from_secs(60)));
    let running = Running::start(|store| store, policy).await;
    running.failure.notify_one();
    // tidy: the clock is paused
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.state(running.store), State::Resting);
    assert_eq!(running.app.not_ready().unwrap(), "store is resting: disk full");
    // tidy: the clock is paused
    sleep(Duration::from_secs(60)).await;
    assert_eq!(running.app.not_ready(), None);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_an_operator_cut_short_does_not_cut_the_next_one_short() {
    // At least half of a wait is left: the first is over within a minute, the second takes one.
    let policy = Policy::new()
        .restart(Restart::new().backoff(Duration::from_secs(60), Duration::from_secs(600)));
    let running = Running::start(|store| store, policy).await;
    running.failure.notify_one();
    // tidy: the clock is paused
    sleep(Duration::from_secs(29)).await;
    assert_eq!(running.app.start(running.store).await.unwrap().starts, 2);
    running.failure.notify_one();
    // tidy: the clock is paused
    sleep(Duration::from_secs(33)).await;
    assert_eq!(running.state(running.store), State::Resting);
}

#[tokio::test(start_paused = true)]
async fn a_start_again_that_fails_is_a_failure_in_the_same_row() {
    let running = Running::start(|store| store.fails_again(4), restarts()).await;
    running.failure.notify_one();
    // tidy: the clock is paused
    sleep(AGES).await;
    assert_eq!(running.app.status(running.store).unwrap().starts, 6);
    assert_eq!(running.app.not_ready(), None);
}

#[tokio::test(start_paused = true)]
async fn one_failure_too_many_in_a_row_stops_the_app_and_is_its_cause() {
    let running = Running::start(|store| store.fails_again(5), restarts()).await;
    running.failure.notify_one();
    let report = running.test.ended().await;
    assert_eq!(report.ending, Ending::Failed("store: not yet".to_owned()));
    assert_eq!(report.exit_code(), 1);
    let store = report.component("store");
    assert_eq!((store.starts, store.outcome), (6, Outcome::Stopped));
    assert_eq!(store.error.as_deref(), Some("not yet"));
}

#[tokio::test(start_paused = true)]
async fn a_row_ends_when_it_ran_for_a_while() {
    let running = Running::start(|store| store, restarts()).await;
    for _ in 0..20 {
        running.failure.notify_one();
        // tidy: the clock is paused
        sleep(AGES).await;
    }
    assert_eq!(running.app.status(running.store).unwrap().starts, 21);
    assert_eq!(running.app.not_ready(), None);
}

#[tokio::test(start_paused = true)]
async fn what_did_not_stop_is_not_started_again_and_has_failed() {
    let running = Running::start(Scripted::never_stops, restarts()).await;
    running.failure.notify_one();
    let report = running.test.ended().await;
    let words = "store: it did not stop, and may still be at work";
    assert_eq!(report.ending, Ending::Failed(words.to_owned()));
    let store = report.component("store");
    assert_eq!((store.starts, store.outcome), (1, Outcome::Abandoned));
}

#[tokio::test(start_paused = true)]
async fn what_did_not_stop_for_an_operator_has_failed_and_the_app_goes_on() {
    let running = Running::start(Scripted::never_stops, Policy::new()).await;
    assert_eq!(running.app.stop(running.store).await.unwrap().state, State::Failed);
    let words = "store is failed: it did not stop, and may still be at work";
    assert_eq!(running.app.not_ready().unwrap(), words);
    // Nobody but the component could say that it is not.
    let refused = Refused::AtWork { name: "store".to_owned() };
    assert_eq!(running.app.start(running.store).await.unwrap_err(), refused);
}

#[tokio::test(start_paused = true)]
async fn an_app_goes_on_without_what_is_optional() {
    let running = Running::start(|store| store, Policy::new()).await;
    running.metrics_failure.notify_one();
    // tidy: the clock is paused
    sleep(AGES).await;
    assert_eq!(running.state(running.metrics), State::Failed);
    assert_eq!(running.app.not_ready(), None);
    let report = running.stop().await;
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::Clean, 0), "{report}");
    assert!(report.to_string().contains("failed: disk full"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn what_an_essential_component_needs_is_essential_whatever_it_says() {
    let running = Running::start(|store| store, Policy::new().optional()).await;
    running.failure.notify_one();
    let report = running.test.ended().await;
    assert_eq!(report.ending, Ending::Failed("store: disk full".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_again_is_refused_a_restart_before_anything_starts() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let store = app.add("store", Scripted::new("store", &diary), []);
    app.policy(store, restarts());
    app.add("web", Scripted::new("web", &diary).only_once(), [store]);
    let report = TestApp::spawn(app).ended().await;
    let words = "shop did not start: `store` is to be started again after a failure, and `web` \
                 cannot be: see `Component::can_restart`";
    assert_eq!(report.to_string(), words);
    assert!(diary.read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_it_stops_for_a_failure_does_not_force() {
    let running = Running::start(|store| store, Policy::new()).await;
    running.failure.notify_one();
    running.test.signal(Signal::Terminate);
    let report = running.test.ended().await;
    // Whichever is heard first: all is stopped in order.
    assert!(!matches!(report.ending, Ending::Forced(_)), "{report}");
    assert!(report.components.iter().all(|part| part.outcome == Outcome::Stopped), "{report}");
}

/// A running app of store ← repo ← web, which takes its time to stop; the store, and what makes it
/// and the repo fail.
async fn chain() -> (TestApp, Handle, [Arc<Notify>; 2]) {
    let diary = Diary::default();
    let (store, repo) = (Scripted::new("store", &diary), Scripted::new("repo", &diary));
    let failures = [store.failure(), repo.failure()];
    let mut app = App::new("shop");
    let store = app.add("store", store, []);
    app.policy(store, restarts());
    let repo = app.add("repo", repo, [store]);
    app.add("web", Scripted::new("web", &diary).takes_to_stop(Duration::from_secs(2)), [repo]);
    (TestApp::start(app).await, store, failures)
}

#[tokio::test(start_paused = true)]
async fn what_fails_because_something_that_it_needs_has_failed_is_no_failure_of_its_own() {
    let (app, _store, [failure, repo_failure]) = chain().await;
    failure.notify_one();
    app.until("web stopping", 1).await;
    repo_failure.notify_one();
    app.until("web started", 2).await;
    app.assert_order(["store failed", "web stopped", "repo stopped", "store stopped"]);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_it_stopped_is_not_taken_for_running() {
    let (app, store, [_, repo_failure]) = chain().await;
    let handle = app.handle();
    tokio::spawn(async move { handle.stop(store).await });
    app.until("web stopping", 1).await;
    repo_failure.notify_one();
    tokio::task::yield_now().await;
    app.handle().start(store).await.unwrap();
    app.until("web started", 2).await;
    app.assert_order(["web stopped", "repo stopped", "repo started", "web started"]);
    app.stop().await.assert_clean();
}
