//! An app in a test.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul::testing::{SpanRecorder, TestApp};
use downhaul::{
    App, BoxError, Component, Context, Ending, Handle, Outcome, Policy, Restart, Signal, State,
    Task,
};
use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use crate::fixture::{Diary, Manner, Part};
use crate::scripted::Scripted;

/// store ← web.
fn shop(store: impl Component, web: impl Component) -> (App, Handle) {
    let mut app = App::new("shop");
    let store = app.add("store", store, []);
    app.add("web", web, [store]);
    (app, store)
}

fn part(name: &'static str, manner: Manner) -> Part {
    Part::new(name, manner, &Diary::default())
}

fn good() -> App {
    shop(part("store", Manner::Good), part("web", Manner::Good)).0
}

/// What it says when it panics.
async fn panics(failing: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(failing).catch_unwind().await.unwrap_err();
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.unwrap_or_else(|| panic.downcast_ref::<String>().unwrap().clone())
}

/// As [`panics`], of what does not wait.
async fn refuses(failing: impl FnOnce()) -> String {
    panics(async { failing() }).await
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_told_in_order_and_the_report_is_that_of_the_run() {
    let app = TestApp::start(good()).await;
    assert_eq!(app.order(), ["store started", "web started"]);
    assert_eq!(app.handle().not_ready(), None);
    let report = app.stop().await;
    report.assert_clean();
    assert_eq!(report.cause, "SIGTERM");
    assert_eq!(report.component("web").words, "web is done");
    assert_eq!(app.order(), ["store started", "web started", "web stopped", "store stopped"]);
    assert_eq!(app.stop().await.cause, "SIGTERM", "the same again");
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_a_panic_with_the_report_and_what_happened() {
    let app = shop(part("store", Manner::Good), part("web", Manner::NeverStarts)).0;
    let words = panics(async { drop(TestApp::start(app).await) }).await;
    assert!(words.contains("shop did not start: web: no disk"), "{words}");
    let events = "store starting|store started|web starting|web failed: no disk|store stopping";
    let at: Vec<_> = events.split('|').map(|event| words.find(event).unwrap()).collect();
    assert!(at.is_sorted(), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_to_fail_is_told_by_its_report() {
    let app = shop(part("store", Manner::NeverStarts), part("web", Manner::Good)).0;
    let app = TestApp::spawn(app);
    app.ended().await.assert_failed("store: no disk");
    assert_eq!(app.order(), ["store failed"]);
    assert_eq!(app.events()[1].to_string(), "store failed: no disk");
}

#[tokio::test(start_paused = true)]
async fn what_was_soon_over_is_not_missed() {
    let store = Scripted::new("store", &Diary::default()).takes(Duration::from_secs(1));
    let (app, store) = shop(store, Scripted::new("web", &Diary::default()));
    let app = TestApp::start(app).await;
    app.handle().restart(store).await.unwrap();
    app.until("web started", 2).await;
    let expected = ["web stopped", "store stopped", "store started", "web started"];
    assert_eq!(app.order()[2..], expected);
    let starts = app.events().into_iter().filter(|event| event.state == State::Running);
    let after: Vec<_> = starts.map(|event| event.after.as_secs()).collect();
    assert_eq!(after, [1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_and_the_start_after_it_can_be_waited_for() {
    let store = Scripted::new("store", &Diary::default()).fails_again(1);
    let failure: Arc<Notify> = store.failure();
    let (mut app, store) = shop(store, Scripted::new("web", &Diary::default()));
    app.policy(store, Policy::new().restart(Restart::new()));
    let app = TestApp::start(app).await;
    failure.notify_one();
    app.until("store failed", 2).await;
    app.until("web started", 2).await;
    app.assert_order(["store failed", "web stopped", "store failed", "store started"]);
    let errors: Vec<_> = app.events().into_iter().filter_map(|event| event.error).collect();
    assert_eq!(errors, ["disk full", "not yet"]);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn work_that_is_done_is_told() {
    let task = || Task::new(|_ctx| async { std::io::Result::Ok(()) });
    let mut app = App::new("shop");
    app.add("once", task().may_end(), []);
    let app = TestApp::start(app).await;
    app.until("once done", 1).await;
    app.stop().await.assert_clean();
    assert_eq!(app.order(), ["once started", "once done", "once stopped"]);

    let mut app = App::new("shop");
    app.add("all", task().stops_app(), []);
    let app = TestApp::spawn(app);
    assert_eq!(app.ended().await.cause, "all is done");
    assert_eq!(app.order(), ["all started", "all done", "all stopped"]);
}

#[tokio::test(start_paused = true)]
async fn two_signals_force_and_a_third_would_end_the_tests() {
    let app = TestApp::start(shop(part("store", Manner::Hangs), part("web", Manner::Hangs)).0);
    let app = app.await;
    app.signal(Signal::Terminate);
    app.signal(Signal::Interrupt);
    let words = refuses(|| app.signal(Signal::Interrupt)).await;
    assert!(words.contains("would end the process"), "{words}");
    let report = app.stop().await;
    assert_eq!(report.ending, Ending::Forced(Signal::Interrupt));
    assert_eq!(report.component("store").outcome, Outcome::Abandoned);
    assert_eq!(app.order(), ["store started", "web started"], "what was left has not stopped");
}

#[tokio::test(start_paused = true)]
async fn a_signal_can_come_while_the_app_starts() {
    let app = shop(part("store", Manner::Good), part("web", Manner::StartsLate)).0;
    let app = TestApp::spawn(app);
    app.until("web starting", 1).await;
    app.signal(Signal::Interrupt);
    let report = app.ended().await;
    report.assert_clean();
    assert_eq!(report.component("web").outcome, Outcome::NotRunning);
    assert_eq!(app.order(), ["store started", "store stopped"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_ends_the_app() {
    struct Keeper(mpsc::Sender<Context>);

    #[async_trait]
    impl Component for Keeper {
        async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
            Ok(self.0.send(ctx.clone()).await?)
        }

        async fn stop(&self, _ctx: &Context) -> String {
            std::future::pending().await
        }
    }

    let (kept, mut contexts) = mpsc::channel(1);
    let mut app = App::new("shop");
    app.add("keeper", Keeper(kept), []);
    let app = TestApp::start(app).await;
    let ctx = contexts.recv().await.unwrap();
    drop(app);
    timeout(Duration::from_secs(1), ctx.done()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_app_that_nothing_stops_is_waited_for_with_patience() {
    let app = TestApp::start(good()).await.patience(Duration::from_secs(5));
    let words = panics(async { drop(app.ended().await) }).await;
    assert!(words.starts_with("nothing stopped the app within 5s\nwhat happened:"), "{words}");
    let words = panics(app.until("store failed", 1)).await;
    assert!(words.starts_with("not 1 times: store failed\nwhat happened:"), "{words}");
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn what_can_never_happen_is_told_at_once() {
    let app = TestApp::start(good()).await;
    let words = panics(app.until("stroe started", 1)).await;
    assert_eq!(words, "`stroe started`: no component `stroe`, but store, web");
    let words = panics(app.until("store begun", 1)).await;
    assert!(words.starts_with("`store begun`: nothing is `begun`, but starting, started"));
    app.stop().await;
    let began = Instant::now();
    let words = panics(app.until("store failed", 1)).await;
    assert!(words.starts_with("not 1 times: store failed"), "the app is over: {words}");
    assert!(began.elapsed() < Duration::from_secs(1), "it waited in vain");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_order_is_told_with_what_happened() {
    let app = TestApp::start(good()).await;
    app.stop().await;
    app.assert_order(["store started", "web stopped"]);
    let words = refuses(|| app.assert_order(["web started", "store started"])).await;
    assert!(words.starts_with("not in this order: store started\nwhat happened:"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn what_a_report_does_not_say_is_told_with_the_whole_report() {
    let app = TestApp::start(shop(part("store", Manner::Hangs), part("web", Manner::Good)).0).await;
    let report = app.stop().await;
    let words = refuses(|| report.assert_clean()).await;
    assert!(words.contains("the end was not clean:\nshop did not finish all"), "{words}");
    assert!(words.contains("not finished: the work of store"), "{words}");
    let words = refuses(|| report.assert_failed("disk full")).await;
    assert!(words.contains("did not fail with `disk full`:\nshop did not finish"), "{words}");
    let words = refuses(|| drop(report.component("stroe").clone())).await;
    assert!(words.contains("no component `stroe`, but web, store:\nshop did not"), "{words}");
}

#[tokio::test]
async fn a_span_that_is_not_there_is_told_with_those_that_are() {
    let spans = SpanRecorder::start();
    drop(tracing::info_span!("work", order = 7));
    drop(tracing::info_span!("rest"));
    drop(tracing::info_span!("rest"));
    assert_eq!(spans.named("work").attributes["order"], "7");
    let words = refuses(|| drop(spans.named("wrok"))).await;
    let listed = "these have ended:\n  work (internal)\n  rest (internal)\n  rest (internal)\n";
    assert_eq!(words, format!("0 spans `wrok`; {listed}"));
    let words = refuses(|| drop(spans.named("rest"))).await;
    assert_eq!(words, format!("2 spans `rest`; {listed}"));
}

#[tokio::test]
async fn spans_of_other_threads_are_no_part_of_a_recording() {
    let spans = SpanRecorder::start();
    let other = || {
        let spans = SpanRecorder::start();
        drop(tracing::info_span!("theirs"));
        spans.ended().len()
    };
    assert_eq!(std::thread::spawn(other).join().unwrap(), 1);
    assert_eq!(spans.ended(), []);
}
