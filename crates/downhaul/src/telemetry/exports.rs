//! [`Exports`]: what leaves the process, to its last piece.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::driver::Driver;

/// What exports, where anything does. Dropped before it is closed, it exports in the background
/// what it still can.
#[derive(Debug, Default)]
pub(super) struct Exports {
    pub(super) spans: Option<SdkTracerProvider>,
    pub(super) metrics: Option<SdkMeterProvider>,
    pub(super) collectors: Collectors,
    /// Kept until the last export.
    pub(super) driver: Option<Arc<Driver>>,
}

/// Where the environment sends what is exported, without credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Collectors {
    pub(super) spans: Option<String>,
    pub(super) metrics: Option<String>,
}

/// What is left to do.
pub(super) struct Rest {
    /// For what, and where that is to go, if it is known.
    what: &'static str,
    to: Option<String>,
    work: Box<dyn FnOnce(Duration) -> OTelSdkResult + Send>,
}

/// How long what was dropped may take in the background.
const IN_BACKGROUND: Duration = Duration::from_secs(5);

impl Exports {
    /// Exports what is left, all of it at once, and shuts down. Returns by `budget`, with what was
    /// lost.
    pub(super) async fn close(&mut self, budget: Duration) -> Option<String> {
        finish(self.rest().collect(), budget).await
    }

    /// What there is to export now.
    pub(super) fn flushes(&self) -> Vec<Rest> {
        let spans = self.spans.clone().map(|spans| {
            let work = self.flush(move || spans.force_flush());
            Rest { what: "spans", to: self.collectors.spans.clone(), work }
        });
        let metrics = self.metrics.clone().map(|metrics| {
            let work = self.flush(move || metrics.force_flush());
            Rest { what: "metrics", to: self.collectors.metrics.clone(), work }
        });
        spans.into_iter().chain(metrics).collect()
    }

    fn flush(
        &self,
        flush: impl FnOnce() -> OTelSdkResult + Send + 'static,
    ) -> Box<dyn FnOnce(Duration) -> OTelSdkResult + Send> {
        let driver = self.driver.clone();
        Box::new(move |_budget| {
            let _driven = driver;
            match flush() {
                // Another app was the last: it has exported this as well.
                Err(OTelSdkError::AlreadyShutdown) => Ok(()),
                flushed => flushed,
            }
        })
    }

    fn rest(&mut self) -> impl Iterator<Item = Rest> {
        let (driver, to) = (self.driver.take(), self.collectors.clone());
        let driven = driver.clone();
        let spans = self.spans.take().map(|spans| {
            let work = move |budget| {
                let _driven = driven;
                // The shutdown does not tell of a failed export, the flush does.
                let flushed = spans.force_flush();
                let shut_down = spans.shutdown_with_timeout(budget);
                flushed.and(shut_down)
            };
            Rest { what: "spans", to: to.spans, work: Box::new(work) }
        });
        let metrics = self.metrics.take().map(|metrics| {
            let work = move |budget| {
                let _driven = driver;
                // This one exports, and tells of it.
                metrics.shutdown_with_timeout(budget)
            };
            Rest { what: "metrics", to: to.metrics, work: Box::new(work) }
        });
        spans.into_iter().chain(metrics)
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        // Waiting here could hold up an async thread.
        self.rest().for_each(|rest| drop(begin(rest.work, IN_BACKGROUND)));
    }
}

/// Does all of it at once. Returns by `budget`, with what was lost.
pub(super) async fn finish(rests: Vec<Rest>, budget: Duration) -> Option<String> {
    let until = Instant::now() + budget;
    let begun = rests.into_iter().map(|rest| (rest.what, rest.to, begin(rest.work, budget)));
    let under_way: Vec<_> = begun.collect();
    let mut lost = Vec::new();
    for (what, to, ended) in under_way {
        let why = match timeout_at(until, ended).await {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(error))) => format!(": {error}"),
            Ok(Err(_gone)) => ": a panic".to_owned(),
            Err(_late) => format!(" within {budget:?}"),
        };
        let to = to.map(|to| format!(" (to {to})")).unwrap_or_default();
        lost.push(format!("the last {what} were not exported{why}{to}"));
    }
    (!lost.is_empty()).then(|| lost.join("; "))
}

/// Does it on a thread of its own, for which nobody has to wait: a runtime would wait for one of
/// its own. Dropping the last provider can block too, and belongs there as well.
fn begin(
    rest: impl FnOnce(Duration) -> OTelSdkResult + Send + 'static,
    budget: Duration,
) -> oneshot::Receiver<OTelSdkResult> {
    let (sender, ended) = oneshot::channel();
    let thread = thread::Builder::new().name("telemetry".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may wait any more.
        let _ = sender.send(rest(budget));
    });
    match spawned {
        Ok(_running) => ended,
        Err(error) => {
            let (sender, ended) = oneshot::channel();
            let _ = sender.send(Err(OTelSdkError::InternalFailure(error.to_string())));
            ended
        }
    }
}
