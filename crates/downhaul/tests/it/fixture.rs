//! Components that write down what happens to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::{App, BoxError, Component, Context, Ended, Report, Signal};
use tokio::sync::{Notify, mpsc};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// How a component behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Does as it is told.
    Good,
    /// Cannot start.
    NeverStarts,
    /// Starts in 20 s.
    StartsLate,
    /// Stops only when its context has ended.
    Stubborn,
    /// Does not stop at all.
    Hangs,
    /// Panics when it is told to stop.
    Panics,
}

pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) manner: Manner,
    pub(crate) diary: Diary,
    pub(crate) failure: Arc<Notify>,
    stopped: AtomicBool,
}

impl Part {
    pub(crate) fn new(name: &'static str, manner: Manner, diary: &Diary) -> Self {
        let stopped = AtomicBool::new(false);
        Self { name, manner, diary: diary.clone(), failure: Arc::default(), stopped }
    }
}

#[async_trait]
impl Component for Part {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        if self.manner == Manner::NeverStarts {
            return Err("no disk".into());
        }
        if self.manner == Manner::StartsLate {
            // tidy: the clock is paused
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        self.diary.write(format!("{} started", self.name));
        Ok(())
    }

    async fn stop(&self, ctx: &Context) -> String {
        match self.manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Stubborn => {
                ctx.done().await;
            }
            Manner::Panics => panic!("planted"),
            Manner::Good | Manner::NeverStarts | Manner::StartsLate => {}
        }
        self.diary.write(format!("{} stopped", self.name));
        self.stopped.store(true, Ordering::SeqCst);
        format!("{} is done", self.name)
    }

    async fn ended(&self) -> Ended {
        self.failure.notified().await;
        Ended::Failed("disk full".into())
    }

    fn in_flight(&self) -> Vec<String> {
        match self.stopped.load(Ordering::SeqCst) {
            true => Vec::new(),
            false => vec![format!("the work of {}", self.name)],
        }
    }
}

/// Runs an app and sends it these signals at once.
pub(crate) async fn run(app: App, signals: &[Signal]) -> Report {
    let (sender, receiver) = mpsc::channel(8);
    for signal in signals {
        sender.send(*signal).await.unwrap();
    }
    app.run_with(receiver).await
}
