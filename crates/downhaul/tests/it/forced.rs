//! What a second signal cuts short.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Component, Context, Ending, Handle, Report, Signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::fixture::{Diary, Manner, Part};
use crate::scripted::Scripted;

/// store ← worker ← web, which never stop by themselves.
fn chain(diary: &Diary) -> App {
    let mut app = App::new("shop");
    let mut needs: Vec<Handle> = Vec::new();
    for name in ["store", "worker", "web"] {
        needs = vec![app.add(name, Part::new(name, Manner::Hangs, diary), needs)];
    }
    app
}

/// Runs an app that gets two signals at once when it is ready. One that is held up would hang.
async fn forced(app: App) -> Report {
    let handle = app.handle();
    let (sender, receiver) = mpsc::channel(2);
    let running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);
    sender.send(Signal::Terminate).await.unwrap();
    sender.send(Signal::Terminate).await.unwrap();
    timeout(Duration::from_secs(60), running).await.expect("it is not held up").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_forces() {
    let diary = Diary::default();
    let app = TestApp::start(chain(&diary)).await;
    app.signal(Signal::Terminate);
    app.signal(Signal::Terminate);
    let report = app.ended().await;
    assert_eq!(report.ending, Ending::Forced(Signal::Terminate));
    assert_eq!(report.exit_code(), 143);
    assert!(report.took < Duration::from_secs(2), "{report}");
    for name in ["store", "worker", "web"] {
        assert!(
            report.to_string().contains(&format!("not finished: the work of {name}")),
            "{report}"
        );
    }
}

/// Holds work in hand until the other half, which it needs, lets go of it.
struct Half {
    lets_go: bool,
    gone: Arc<Notify>,
    empty: Arc<AtomicBool>,
}

#[async_trait]
impl Component for Half {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        if self.lets_go {
            self.empty.store(true, Ordering::SeqCst);
            self.gone.notify_one();
        } else {
            self.gone.notified().await;
        }
        String::new()
    }

    fn in_flight(&self) -> Vec<String> {
        let in_hand = !self.lets_go && !self.empty.load(Ordering::SeqCst);
        in_hand.then(|| "a message".to_owned()).into_iter().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_names_what_one_component_took_out_of_the_hands_of_another() {
    let (gone, empty) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let half = |lets_go| Half { lets_go, gone: Arc::clone(&gone), empty: Arc::clone(&empty) };
    let mut app = App::new("shop");
    let broker = app.add("broker", half(true), []);
    let worker = app.add("worker", half(false), [broker]);
    // So that neither of them has begun to stop when all are forced to.
    app.add("web", Part::new("web", Manner::Hangs, &Diary::default()), [worker]);
    let report = forced(app).await;
    assert!(report.to_string().contains("not finished: a message"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_leaves_half_a_second_to_settle_with_what_is_needed() {
    let diary = Diary::default();
    let mut app = App::new("shop");
    let store = app.add("store", Scripted::new("store", &diary), []);
    let moment = Duration::from_millis(400);
    app.add("web", Scripted::new("web", &diary).takes_to_stop(moment), [store]);
    let app = TestApp::start(app).await;
    app.signal(Signal::Terminate);
    app.signal(Signal::Terminate);
    let report = app.ended().await;
    assert!(matches!(report.ending, Ending::Forced(_)), "{report}");
    assert_eq!(diary.read(), ["store started", "web started", "web stopped", "store stopped"]);
}

/// Has two pieces of work, one of which ends at once when its context does.
#[derive(Default)]
struct Two(OnceLock<Context>);

#[async_trait]
impl Component for Two {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let _ = self.0.set(ctx.clone());
        Ok(())
    }

    async fn stop(&self, ctx: &Context) -> String {
        ctx.done().await;
        String::new()
    }

    fn in_flight(&self) -> Vec<String> {
        let quick = !self.0.get().is_some_and(Context::is_done);
        quick.then_some("quick").into_iter().chain(["slow"]).map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_names_what_ends_at_the_moment_in_which_it_is_forced_to() {
    let mut app = App::new("shop");
    let worker = app.add("worker", Two::default(), []);
    // So that the worker has not begun to stop before.
    app.add("web", Part::new("web", Manner::Hangs, &Diary::default()), [worker]);
    let app = TestApp::start(app).await;
    app.signal(Signal::Terminate);
    app.signal(Signal::Terminate);
    let report = app.ended().await;
    assert_eq!(report.component("worker").unfinished, ["quick", "slow"], "{report}");
}

/// Says nothing of its work before it is let go.
struct Mute(Mutex<std::sync::mpsc::Receiver<()>>);

#[async_trait]
impl Component for Mute {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        String::new()
    }

    fn in_flight(&self) -> Vec<String> {
        let _ = self.0.lock().unwrap().recv();
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_that_blocks_when_asked_for_its_work_does_not_hold_up_a_forced_stop() {
    let (_blocked, until) = std::sync::mpsc::channel();
    let mut app = App::new("shop");
    let mute = app.add("mute", Mute(Mutex::new(until)), []);
    let worker = app.add("worker", Two::default(), [mute]);
    app.add("web", Part::new("web", Manner::Hangs, &Diary::default()), [worker]);
    let report = forced(app).await;
    assert_eq!(report.component("mute").unfinished, ["it does not say what is in flight"]);
    assert_eq!(report.component("worker").unfinished, ["quick", "slow"], "{report}");
    // The blocked threads are let go here, when their sender is dropped.
}
