//! What does not come back: a start that blocks its thread.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Component, Context, Ending, Outcome, Signal};

use crate::fixture::{Diary, Manner, Part};

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
