//! Start in order, stop in order, and say so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Context, Control, Ending, Handle, Outcome, Policy, Signal, Task};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::capture::Capture;
use crate::fixture::{Diary, Manner, Part, run};

const GRACE: Duration = Duration::from_secs(31);

/// store ← worker ← web, each with its manner.
fn app(diary: &Diary, manners: [Manner; 3]) -> App {
    let mut app = App::new("shop").grace(GRACE);
    let mut needs: Vec<Handle> = Vec::new();
    for (name, manner) in ["store", "worker", "web"].into_iter().zip(manners) {
        needs = vec![app.add(name, Part::new(name, manner, diary), needs)];
    }
    app
}

#[tokio::test(start_paused = true)]
async fn components_stop_after_those_that_need_them() {
    let diary = Diary::default();
    let report = TestApp::start(app(&diary, [Manner::Good; 3])).await.stop().await;
    let expected = [
        "store started",
        "worker started",
        "web started",
        "web stopped",
        "worker stopped",
        "store stopped",
    ];
    assert_eq!(diary.read(), expected);
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::Clean, 0));
    assert!(report.to_string().contains("worker       stopped"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_during_the_start_stops_what_was_started() {
    let diary = Diary::default();
    let report = run(app(&diary, [Manner::Good; 3]), &[Signal::Terminate]).await;
    assert_eq!(report.exit_code(), 0);
    let stopped = diary.read().iter().filter(|line| line.ends_with("stopped")).count();
    assert_eq!(stopped * 2, diary.read().len());
}

#[tokio::test(start_paused = true)]
async fn a_component_has_as_long_to_start_as_the_app_says() {
    let late = [Manner::Good, Manner::StartsLate, Manner::Good];
    let report = run(app(&Diary::default(), late), &[]).await;
    assert_eq!(report.to_string(), "shop did not start: worker: not started within 10s");

    let diary = Diary::default();
    let app = TestApp::start(app(&diary, late).start_within(Duration::from_secs(21))).await;
    assert_eq!(diary.read(), ["store started", "worker started", "web started"]);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn an_app_that_does_not_start_says_so_in_the_log_whoever_refused_it() {
    let logged = Capture::start();
    let mut refused = App::new("shop").grace(Duration::from_secs(1));
    let slow = refused.add("slow", drains(), []);
    refused.policy(slow, Policy::new().stop_within(Duration::from_secs(5)));
    let report = run(refused, &[]).await;
    assert!(report.cause.starts_with("a grace of 1s is too short"), "{}", report.cause);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(App::new("shop").control(Control::new(address)), &[]).await;
    run(app(&Diary::default(), [Manner::NeverStarts; 3]), &[]).await;
    let lines = logged.lines("ending=\"not_started\"");
    let causes = ["\"a grace of 1s is too short", "\"control: ", "\"store: no disk\""];
    assert_eq!(lines.len(), causes.len(), "{lines:?}");
    for (line, cause) in lines.iter().zip(causes) {
        let begin = format!("ERROR message=did not start app=\"shop\" cause={cause}");
        assert!(line.starts_with(&begin), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_stops_what_was_started() {
    let diary = Diary::default();
    let manners = [Manner::Good, Manner::NeverStarts, Manner::Good];
    let report = run(app(&diary, manners), &[]).await;
    assert_eq!(diary.read(), ["store started", "store stopped"]);
    assert_eq!(report.exit_code(), 1);
    assert_eq!(report.to_string(), "shop did not start: worker: no disk");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_fails_stops_the_app_and_is_its_cause() {
    let diary = Diary::default();
    let worker = Part::new("worker", Manner::Good, &diary);
    let failure = Arc::clone(&worker.failure);
    let mut app = App::new("shop");
    app.add("worker", worker, []);
    failure.notify_one();
    let report = run(app, &[]).await;
    assert_eq!(report.ending, Ending::Failed("worker: disk full".to_owned()));
    assert_eq!(report.exit_code(), 1);
    assert_eq!(diary.read(), ["worker started", "worker stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_hangs_is_named() {
    let diary = Diary::default();
    let manners = [Manner::Good, Manner::Hangs, Manner::Good];
    let report = TestApp::start(app(&diary, manners)).await.stop().await;
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::CutShort, 1));
    let worker = report.component("worker");
    assert_eq!(worker.outcome, Outcome::Abandoned);
    assert_eq!(worker.unfinished, ["the work of worker"]);
    // Web took nothing of the 30 s, so worker had all of them but a tenth for the store.
    assert_eq!(worker.allowed, Duration::from_secs(27));
    assert!(worker.took <= worker.allowed);
    assert!(diary.read().contains(&"store stopped".to_owned()), "the rest stopped in order");
    assert!(report.took <= GRACE);
}

#[tokio::test(start_paused = true)]
async fn the_last_component_to_stop_is_named_with_its_times_too_when_it_hangs() {
    let logged = Capture::start();
    let manners = [Manner::Hangs, Manner::Good, Manner::Good];
    let report = TestApp::start(app(&Diary::default(), manners)).await.stop().await;
    let store = report.component("store");
    let times = (store.took.as_secs(), store.allowed.as_secs());
    assert_eq!((store.outcome, times), (Outcome::Abandoned, (30, 30)), "{report}");
    assert_eq!(store.unfinished, ["the work of store"]);
    assert!(report.took <= GRACE, "{report}");
    let lines = logged.lines("message=stopped component=\"store\"");
    assert!(lines[0].contains("outcome=Abandoned"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_was_not_asked_to_stop_says_so() {
    let app = app(&Diary::default(), [Manner::Good, Manner::Hangs, Manner::Good]);
    let report = TestApp::start(app.grace(Duration::ZERO)).await.stop().await;
    let store = report.component("store");
    assert_eq!(store.outcome, Outcome::Abandoned, "{report}");
    let line = "  store        abandoned: it was not asked to stop: no time was left\n";
    assert!(format!("{report}\n").contains(line), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_panics_while_it_stops_is_named_and_the_rest_stops() {
    let diary = Diary::default();
    let manners = [Manner::Good, Manner::Panics, Manner::Good];
    let report = TestApp::start(app(&diary, manners)).await.stop().await;
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().contains("it panicked"), "{report}");
    assert_eq!(report.component("worker").allowed, Duration::from_secs(27), "{report}");
    assert!(diary.read().contains(&"store stopped".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_that_blocks_its_thread_does_not_keep_the_app() {
    struct Blocks {
        started: mpsc::Sender<()>,
        until: Mutex<std::sync::mpsc::Receiver<()>>,
    }

    #[async_trait::async_trait]
    impl downhaul::Component for Blocks {
        async fn start(&self, _ctx: &Context) -> Result<(), downhaul::BoxError> {
            Ok(self.started.send(()).await?)
        }

        async fn stop(&self, _ctx: &Context) -> String {
            let _ = self.until.lock().unwrap().recv();
            String::new()
        }
    }

    let (_blocked, until) = std::sync::mpsc::channel();
    let (started, mut starts) = mpsc::channel(1);
    let mut app = App::new("shop").grace(Duration::from_millis(1_300));
    app.add("blocks", Blocks { started, until: Mutex::new(until) }, []);
    let app = TestApp::spawn(app);
    starts.recv().await.unwrap();
    let report = app.stop().await;
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().contains("it did not come back"), "{report}");
    let blocks = report.component("blocks");
    assert!(blocks.took >= blocks.allowed && !blocks.allowed.is_zero(), "{report}");
    // The blocked thread is let go here, when its sender is dropped.
}

#[tokio::test(start_paused = true)]
async fn a_component_that_stops_only_when_its_context_ends_stops_within_its_share() {
    let diary = Diary::default();
    let report = TestApp::start(app(&diary, [Manner::Stubborn; 3])).await.stop().await;
    assert!(report.took <= GRACE, "{report}");
    assert_eq!(diary.read().len(), 6, "all three stopped");
    assert!(report.components.iter().all(|part| part.outcome != Outcome::Abandoned), "{report}");
}

#[tokio::test(start_paused = true)]
async fn independent_components_stop_at_the_same_time() {
    let diary = Diary::default();
    let mut app = App::new("shop").grace(GRACE);
    for name in ["left", "right"] {
        app.add(name, Part::new(name, Manner::Stubborn, &diary), []);
    }
    let app = TestApp::start(app).await;
    app.signal(Signal::Interrupt);
    let report = app.ended().await;
    let allowed: Vec<_> = report.components.iter().map(|part| part.allowed).collect();
    assert_eq!(allowed, [Duration::from_secs(30); 2]);
    assert!(report.took <= GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_gave_up_on_work_is_no_clean_end_though_it_stopped() {
    let diary = Diary::default();
    let manners = [Manner::Good, Manner::Stubborn, Manner::Good];
    let report = TestApp::start(app(&diary, manners)).await.stop().await;
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::CutShort, 1), "{report}");
    assert!(report.to_string().contains("not finished: the work of worker"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_grace_without_end_is_a_year() {
    let app = App::new("shop").grace(Duration::MAX);
    TestApp::start(app).await.stop().await.assert_clean();
}

#[test]
#[should_panic(expected = "needs a component of another app")]
fn a_handle_of_another_app_is_refused() {
    let diary = Diary::default();
    let stranger = App::new("other").add("x", Part::new("x", Manner::Good, &diary), []);
    App::new("shop").add("y", Part::new("y", Manner::Good, &diary), [stranger]);
}

#[tokio::test]
async fn a_context_given_to_a_component_ends_with_the_app() {
    struct Keeper(mpsc::Sender<Context>);

    #[async_trait::async_trait]
    impl downhaul::Component for Keeper {
        async fn start(&self, ctx: &Context) -> Result<(), downhaul::BoxError> {
            self.0.send(ctx.clone()).await?;
            Ok(())
        }

        async fn stop(&self, _ctx: &Context) -> String {
            String::new()
        }
    }

    let (kept, mut contexts) = mpsc::channel(1);
    let mut app = App::new("shop");
    app.add("keeper", Keeper(kept), []);
    let app = TestApp::start(app).await;
    let ctx = contexts.recv().await.unwrap();
    assert_eq!(ctx.path(), "shop > keeper");
    app.stop().await;
    assert!(ctx.is_done());
}

#[tokio::test(start_paused = true)]
async fn a_report_is_for_programs_too() {
    let diary = Diary::default();
    let app = TestApp::start(app(&diary, [Manner::Hangs; 3])).await;
    app.signal(Signal::Terminate);
    app.signal(Signal::Interrupt);
    let report = serde_json::to_value(app.ended().await).unwrap();
    assert_eq!(report["ending"], serde_json::json!({ "forced": "SIGINT" }));
    assert_eq!(report["grace_ms"], 31_000);
    let part = &report["components"][0];
    assert_eq!((&part["outcome"], &part["starts"]), (&"abandoned".into(), &1.into()));
    assert!(part["unfinished"][0].as_str().unwrap().starts_with("the work of"), "{part}");
}

#[tokio::test(start_paused = true)]
async fn all_that_could_not_start_is_named() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    for name in ["left", "right"] {
        app.add(name, Part::new(name, Manner::NeverStarts, &diary), []);
    }
    let report = run(app, &[]).await.to_string();
    let mut lines: Vec<_> = report.lines().map(str::trim).collect();
    lines.sort_unstable();
    // Either may be the first; the other is attached.
    assert_eq!(lines.len(), 3, "{report}");
    assert_eq!(lines[0], "failed: no disk");
    assert!(lines[2].starts_with("shop did not start: "), "{report}");
}

/// Writes down what its context says when it is asked to stop.
struct Reader(Diary);

#[async_trait::async_trait]
impl downhaul::Component for Reader {
    async fn start(&self, _ctx: &Context) -> Result<(), downhaul::BoxError> {
        Ok(())
    }

    async fn stop(&self, ctx: &Context) -> String {
        let left = ctx.ends_at().map(|at| at.saturating_duration_since(Instant::now()));
        self.0.write(format!("draining: {}, {left:?} left", ctx.is_draining()));
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_asked_to_stop_can_read_how_long_it_may_take() {
    let diary = Diary::default();
    let mut app = App::new("shop").grace(GRACE);
    app.add("reader", Reader(diary.clone()), []);
    let handle = app.handle();
    let (_none, receiver) = mpsc::channel(1);
    let running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);
    handle.stop_app("enough").await;
    running.await.unwrap();
    assert_eq!(diary.read(), ["draining: true, Some(30s) left"]);
}

fn drains() -> Task {
    Task::new(|ctx| async move {
        ctx.draining().await;
        Ok::<_, BoxError>(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_component_that_panics_when_it_is_asked_for_its_work_costs_the_answer_alone() {
    for signals in [1, 2] {
        let mut app = App::new("shop");
        app.add("task", drains().unfinished(|| panic!("a lock is poisoned")), []);
        let app = TestApp::start(app).await;
        (0..signals).for_each(|_| app.signal(Signal::Terminate));
        let report = app.ended().await;
        let task = report.component("task");
        assert_eq!(task.unfinished, ["it panicked: a lock is poisoned"], "{report}");
        assert!(report.took < Duration::from_secs(1), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_text_of_others_begins_a_line_of_a_report() {
    let mut app = App::new("shop");
    let forged = || "left\n  http         stopped\u{202e}".to_owned();
    let unfinished = move || vec![forged()];
    app.add("task", drains().last_words(forged).unfinished(unfinished), []);
    let app = TestApp::start(app).await;
    app.handle().stop_app(forged()).await;
    let report = app.ended().await;
    assert_eq!(report.to_string().lines().count(), 3, "{report}");
    assert!(!report.to_string().contains('\u{202e}'), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_fails_while_others_stop_is_no_clean_end() {
    let store = Part::new("store", Manner::Good, &Diary::default());
    let failure = Arc::clone(&store.failure);
    let mut app = App::new("shop");
    let store = app.add("store", store, []);
    let slow = Task::new(move |ctx| {
        let failure = Arc::clone(&failure);
        async move {
            ctx.draining().await;
            failure.notify_one();
            // tidy: the clock is paused
            sleep(Duration::from_secs(1)).await;
            Ok::<_, BoxError>(())
        }
    });
    app.add("slow", slow, [store]);
    let report = TestApp::start(app).await.stop().await;
    assert_eq!((&report.ending, report.exit_code()), (&Ending::CutShort, 1), "{report}");
}

#[tokio::test(start_paused = true)]
async fn what_a_second_signal_cuts_short_has_that_for_its_cause() {
    let cause = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&cause);
    let task = Task::new(move |ctx| {
        let seen = Arc::clone(&seen);
        async move {
            *seen.lock().unwrap() = Some(ctx.done().await);
            Ok::<_, BoxError>(())
        }
    });
    let mut app = App::new("shop");
    app.add("task", task, []);
    let app = TestApp::start(app).await;
    app.signal(Signal::Terminate);
    app.until("task stopping", 1).await;
    app.signal(Signal::Interrupt);
    let report = app.ended().await;
    assert_eq!(report.ending, Ending::Forced(Signal::Interrupt));
    let cause = cause.lock().unwrap().clone().unwrap().to_string();
    assert!(cause.contains("SIGINT"), "{cause}");
}
