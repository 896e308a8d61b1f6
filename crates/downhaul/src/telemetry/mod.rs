//! Log lines, spans and metrics: one subscriber, one request id, and where they go.

mod baggage;
mod builder;
#[cfg_attr(not(feature = "otlp-tls"), allow(dead_code, reason = "nothing takes a runtime"))]
mod driver;
mod environment;
mod exports;
mod http;
mod messages;
pub(crate) mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod own_spans;
mod providers;
mod sampling;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::util::TryInitError;

pub use self::baggage::Baggage;
#[cfg(feature = "testing")]
pub(crate) use self::builder::span_layer;
pub use self::builder::{Metrics, Spans, TelemetryBuilder};
use self::exports::Exports;
pub use self::http::HttpSpans;
pub use self::messages::MessageSpans;
use crate::logging::LogFormat;

/// The log lines of a process and, where somebody wants them, its spans and metrics.
///
/// Lines go to standard error, by way of a thread of their own: where nobody reads them, they are
/// dropped once 128,000 wait. They are filtered by `RUST_LOG`, and by `info` without it. Spans are
/// made from INFO up, and below that where `RUST_LOG` asks for them.
///
/// Spans and metrics go to where the [builder](Self::builder) or the environment says. The
/// variables are those of OpenTelemetry's specification, such as `OTEL_EXPORTER_OTLP_ENDPOINT`, and
/// `OTEL_SDK_DISABLED` has the last word. The metrics of a program's own go there as well, by way
/// of `opentelemetry::global::meter`.
///
/// Give it to the [`App`](crate::App), which exports what is left as the last thing it does, and
/// says in its report what it could not. Dropped before, it exports in the background what it can.
///
/// Where a process has several apps, give each a clone. Each exports what there is when it stops,
/// and the last of them ends it. A clone that is kept elsewhere is one that never stops: the end is
/// in the background then, once it is dropped.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Shared>);

/// What all clones have in common.
#[derive(Debug)]
struct Shared {
    exports: Exports,
    /// Writes the last lines when dropped.
    _lines: WorkerGuard,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The process has a subscriber already.
    #[error("log lines are set up already in this process")]
    Installed(#[from] TryInitError),
    /// The exporter does not take what the environment says.
    #[error("cannot export: check the variables that begin with OTEL_EXPORTER_OTLP")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file for TLS that the environment names cannot be used.
    #[error("{key}: the file cannot be used")]
    #[non_exhaustive]
    Unusable {
        /// The variable that names it.
        key: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This crate was built without what is asked for.
    #[error("{key}: built without that: it takes the feature `{feature}` of downhaul")]
    #[non_exhaustive]
    NotBuilt {
        /// The variable that asks for it, or would.
        key: &'static str,
        /// The feature that it takes.
        feature: &'static str,
    },
}

impl Telemetry {
    /// Chooses what is seen of a service, and where.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use downhaul::{LogFormat, Telemetry};
    ///
    /// # fn main() -> Result<(), downhaul::TelemetryError> {
    /// let telemetry = Telemetry::builder("orders").log(LogFormat::Json).metrics_page().install()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(service: impl Into<String>) -> TelemetryBuilder {
        TelemetryBuilder::new(service.into())
    }

    /// Sets up the process's subscriber, with spans and metrics as the environment says. Call it
    /// once, first thing in `main`.
    ///
    /// # Errors
    ///
    /// As [`TelemetryBuilder::install`].
    pub fn install(service: &str, format: LogFormat) -> Result<Self, TelemetryError> {
        Self::builder(service).log(format).install()
    }

    fn new(exports: Exports, lines: WorkerGuard) -> Self {
        Self(Arc::new(Shared { exports, _lines: lines }))
    }

    /// Exports what is left, off the async threads and within `budget`, and shuts down if nobody
    /// else has it. What was lost is logged, too.
    pub(crate) async fn shut_down(self, budget: Duration) -> ShutDown {
        let flushes = self.0.exports.flushes();
        let mut last = Arc::into_inner(self.0);
        let lost = match &mut last {
            Some(last) => last.exports.close(budget).await,
            None => exports::finish(flushes, budget).await,
        };
        if let Some(lost) = &lost {
            tracing::warn!("{lost}");
        }
        ShutDown { lost, _lines: last }
    }
}

/// Telemetry that has exported what it could. Lines are written until this is dropped.
pub(crate) struct ShutDown {
    /// What was lost, if anything was.
    pub(crate) lost: Option<String>,
    _lines: Option<Shared>,
}

#[cfg(test)]
mod tests;
