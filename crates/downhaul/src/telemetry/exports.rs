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
    /// Kept until the last export.
    pub(super) driver: Option<Arc<Driver>>,
}

/// What is left to do, and for what.
pub(super) type Rest = (&'static str, Box<dyn FnOnce(Duration) -> OTelSdkResult + Send>);

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
        let (driven, driver) = (self.driver.clone(), self.driver.clone());
        let spans =
            self.spans.clone().map(|spans| flush("spans", driven, move || spans.force_flush()));
        let metrics = self
            .metrics
            .clone()
            .map(|metrics| flush("metrics", driver, move || metrics.force_flush()));
        spans.into_iter().chain(metrics).collect()
    }

    fn rest(&mut self) -> impl Iterator<Item = Rest> {
        let driver = self.driver.take();
        let driven = driver.clone();
        let spans = self.spans.take().map(|spans| {
            let rest = move |budget| {
                let _driven = driven;
                // The shutdown does not tell of a failed export, the flush does.
                let flushed = spans.force_flush();
                let shut_down = spans.shutdown_with_timeout(budget);
                flushed.and(shut_down)
            };
            ("spans", Box::new(rest) as Box<_>)
        });
        let metrics = self.metrics.take().map(|metrics| {
            let rest = move |budget| {
                let _driven = driver;
                // This one exports, and tells of it.
                metrics.shutdown_with_timeout(budget)
            };
            ("metrics", Box::new(rest) as Box<_>)
        });
        spans.into_iter().chain(metrics)
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        // Waiting here could hold up an async thread.
        self.rest().for_each(|(_, rest)| drop(begin(rest, IN_BACKGROUND)));
    }
}

/// Does all of it at once. Returns by `budget`, with what was lost.
pub(super) async fn finish(rests: Vec<Rest>, budget: Duration) -> Option<String> {
    let until = Instant::now() + budget;
    let begun = rests.into_iter().map(|(what, rest)| (what, begin(rest, budget)));
    let under_way: Vec<_> = begun.collect();
    let mut lost = Vec::new();
    for (what, ended) in under_way {
        match timeout_at(until, ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => lost.push(format!("the last {what} were not exported: {error}")),
            Ok(Err(_gone)) => lost.push(format!("the last {what} were not exported: a panic")),
            Err(_late) => {
                lost.push(format!("the last {what} were not exported within {budget:?}"));
            }
        }
    }
    (!lost.is_empty()).then(|| lost.join("; "))
}

fn flush(
    what: &'static str,
    driver: Option<Arc<Driver>>,
    flush: impl FnOnce() -> OTelSdkResult + Send + 'static,
) -> Rest {
    let rest = move |_budget| {
        let _driven = driver;
        match flush() {
            // Another app was the last: it has exported this as well.
            Err(OTelSdkError::AlreadyShutdown) => Ok(()),
            flushed => flushed,
        }
    };
    (what, Box::new(rest))
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
