//! Log lines and spans: one subscriber, one request id.

mod exports;
mod http;
mod messages;
mod trace;

use std::io;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use self::exports::Exports;
pub use self::http::HttpSpans;
pub use self::messages::MessageSpans;
use crate::logging::{self, LogFormat};

/// The log lines of a process and, when the environment names a collector, its spans.
///
/// Lines go to standard error, by way of a thread of their own: where nobody reads them, they are
/// dropped once 128,000 wait. They are filtered by `RUST_LOG`, and by `info` without it. Spans are
/// exported over OTLP when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is
/// set, as OpenTelemetry's specification has it; otherwise W3C trace context passes through from
/// requests to messages as it is.
#[derive(Debug)]
pub struct Telemetry {
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
    #[error("spans cannot be exported: check the variables that begin with OTEL_EXPORTER_OTLP")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Telemetry {
    /// Sets up the process's subscriber. Call it once, first thing in `main`.
    ///
    /// # Errors
    ///
    /// If the process has a subscriber already, or if the environment asks for an exporter that
    /// cannot be made.
    pub fn install(service: &str, format: LogFormat) -> Result<Self, TelemetryError> {
        let provider = provider(service)?;
        let spans = provider.as_ref().map(|provider| {
            // What a log line of ours does not say, a span need not say either.
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("downhaul"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                // A handled failure that is logged is not a failed span.
                .with_error_events_to_status(false)
                .with_filter(LevelFilter::INFO)
        });
        // On a thread of its own: nobody who does not read our lines can hold the service up.
        let (writer, lines) = tracing_appender::non_blocking(io::stderr());
        let layer = logging::layer(format, writer);
        tracing_subscriber::registry().with(spans).with(layer).try_init()?;
        Ok(Self { exports: Exports { spans: provider }, _lines: lines })
    }

    /// Exports what is left and shuts down, off the async threads and within `budget`. Returns what
    /// was lost, which is logged, too.
    pub(crate) async fn shut_down(mut self, budget: Duration) -> Option<String> {
        let lost = self.exports.close(budget).await?;
        tracing::warn!("{lost}");
        Some(lost)
    }
}

/// A provider that exports to where the environment says, if it does.
#[cfg(feature = "otlp")]
fn provider(service: &str) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let variables = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    if variables.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|error| TelemetryError::Exporter(Box::new(error)))?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Ok(Some(provider))
}

#[cfg(not(feature = "otlp"))]
fn provider(_service: &str) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    Ok(None)
}
