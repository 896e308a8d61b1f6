//! A component that does as the test says, and writes down what happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::{BoxError, Component, Context, Ended};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::fixture::Diary;

/// A component whose failures the test decides.
pub(crate) struct Scripted {
    name: &'static str,
    diary: Diary,
    /// How long it takes to start.
    takes: Duration,
    /// How many of its starts fail, after the first.
    failing: AtomicU32,
    starts: AtomicU32,
    restarts: bool,
    stops: bool,
    /// How long it takes to stop.
    stop_takes: Duration,
    is_lame_for_ever: bool,
    failure: Arc<Notify>,
}

impl Scripted {
    pub(crate) fn new(name: &'static str, diary: &Diary) -> Self {
        Self {
            name,
            diary: diary.clone(),
            takes: Duration::ZERO,
            failing: AtomicU32::new(0),
            starts: AtomicU32::new(0),
            restarts: true,
            stops: true,
            stop_takes: Duration::ZERO,
            is_lame_for_ever: false,
            failure: Arc::default(),
        }
    }

    pub(crate) fn takes(mut self, time: Duration) -> Self {
        self.takes = time;
        self
    }

    /// This many of its starts fail, after the first.
    pub(crate) fn fails_again(self, times: u32) -> Self {
        self.failing.store(times, Ordering::SeqCst);
        self
    }

    pub(crate) fn takes_to_stop(mut self, time: Duration) -> Self {
        self.stop_takes = time;
        self
    }

    pub(crate) fn never_stops(mut self) -> Self {
        self.stops = false;
        self
    }

    pub(crate) fn lame_for_ever(mut self) -> Self {
        self.is_lame_for_ever = true;
        self
    }

    pub(crate) fn only_once(mut self) -> Self {
        self.restarts = false;
        self
    }

    /// Makes it fail when notified.
    pub(crate) fn failure(&self) -> Arc<Notify> {
        Arc::clone(&self.failure)
    }
}

#[async_trait]
impl Component for Scripted {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        // tidy: the clock is paused
        sleep(self.takes).await;
        let again = self.starts.fetch_add(1, Ordering::SeqCst) > 0;
        let left = |left: u32| left.checked_sub(1);
        if again && self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err("not yet".into());
        }
        self.diary.write(format!("{} started", self.name));
        Ok(())
    }

    async fn lame_duck(&self) {
        if self.is_lame_for_ever {
            std::future::pending().await
        }
    }

    async fn stop(&self, _ctx: &Context) -> String {
        if !self.stops {
            std::future::pending::<()>().await;
        }
        // tidy: the clock is paused
        sleep(self.stop_takes).await;
        self.diary.write(format!("{} stopped", self.name));
        String::new()
    }

    async fn ended(&self) -> Ended {
        self.failure.notified().await;
        Ended::Failed("disk full".into())
    }

    fn can_restart(&self) -> bool {
        self.restarts
    }
}
