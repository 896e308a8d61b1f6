//! Exporters, as far as this crate was built with them.

use std::sync::Arc;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use opentelemetry_sdk::trace::TracerProviderBuilder;

use super::TelemetryError;
use super::environment::{Environment, Exporter};
#[cfg(feature = "otlp")]
use super::environment::{Protocol, Signal};
use super::metrics::Page;

/// What metrics are made by, and the page that shows them.
pub(super) type Meters = (Option<SdkMeterProvider>, Option<Page>);

/// What exports spans, too.
pub(super) fn spans(
    builder: TracerProviderBuilder,
    exporter: Exporter,
    environment: &mut Environment,
    driver: &mut Option<Arc<Driver>>,
) -> Result<TracerProviderBuilder, TelemetryError> {
    match exporter {
        #[cfg(feature = "otlp")]
        Exporter::Otlp => {
            environment.check_endpoint(Signal::Traces)?;
            let exporter = otlp_spans(environment.protocol(Signal::Traces)?, driver)?;
            Ok(builder.with_batch_exporter(exporter))
        }
        #[cfg(feature = "stdout")]
        Exporter::Console => {
            Ok(builder.with_batch_exporter(opentelemetry_stdout::SpanExporter::default()))
        }
        other => {
            let _ = (builder, environment, driver);
            Err(not_built("OTEL_TRACES_EXPORTER", other))
        }
    }
}

/// What makes metrics, and exports them, if anybody asks for them.
pub(super) fn metrics(
    exporters: &[Exporter],
    resource: Resource,
    environment: &mut Environment,
    driver: &mut Option<Arc<Driver>>,
) -> Result<Meters, TelemetryError> {
    if exporters.is_empty() {
        return Ok((None, None));
    }
    let mut builder = SdkMeterProvider::builder().with_resource(resource);
    let mut page = None;
    for exporter in exporters {
        builder = metrics_to(builder, *exporter, environment, driver, &mut page)?;
    }
    Ok((Some(builder.build()), page))
}

fn metrics_to(
    builder: MeterProviderBuilder,
    exporter: Exporter,
    environment: &mut Environment,
    driver: &mut Option<Arc<Driver>>,
    page: &mut Option<Page>,
) -> Result<MeterProviderBuilder, TelemetryError> {
    match exporter {
        #[cfg(feature = "otlp")]
        Exporter::Otlp => {
            environment.check_endpoint(Signal::Metrics)?;
            let exporter = otlp_metrics(environment.protocol(Signal::Metrics)?, driver)?;
            Ok(builder.with_periodic_exporter(exporter))
        }
        #[cfg(feature = "stdout")]
        Exporter::Console => {
            Ok(builder.with_periodic_exporter(opentelemetry_stdout::MetricExporter::default()))
        }
        #[cfg(feature = "prometheus")]
        Exporter::Prometheus => {
            let (reader, made) = Page::new().map_err(|error| broken(Box::new(error)))?;
            *page = Some(made);
            Ok(builder.with_reader(reader))
        }
        #[cfg(not(all(feature = "otlp", feature = "prometheus", feature = "stdout")))]
        other => {
            let _ = (builder, environment, driver, page);
            Err(not_built("OTEL_METRICS_EXPORTER", other))
        }
    }
}

fn not_built(key: &'static str, exporter: Exporter) -> TelemetryError {
    let feature = match exporter {
        Exporter::Console => "stdout",
        Exporter::Otlp => "otlp",
        Exporter::Prometheus => "prometheus",
    };
    TelemetryError::NotBuilt { key, feature }
}

#[cfg(any(feature = "otlp", feature = "prometheus"))]
fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> TelemetryError {
    TelemetryError::Exporter(error)
}

#[cfg(feature = "otlp")]
fn otlp_spans(
    protocol: Protocol,
    driver: &mut Option<Arc<Driver>>,
) -> Result<opentelemetry_otlp::SpanExporter, TelemetryError> {
    let builder = opentelemetry_otlp::SpanExporter::builder();
    let made = match protocol {
        Protocol::HttpProtobuf => builder.with_http().build(),
        #[cfg(feature = "grpc")]
        Protocol::Grpc => {
            let _inside = Driver::of(driver)?.runtime()?.enter();
            builder.with_tonic().build()
        }
        #[cfg(not(feature = "grpc"))]
        Protocol::Grpc => return Err(no_grpc(driver)),
    };
    made.map_err(|error| broken(Box::new(error)))
}

#[cfg(feature = "otlp")]
fn otlp_metrics(
    protocol: Protocol,
    driver: &mut Option<Arc<Driver>>,
) -> Result<opentelemetry_otlp::MetricExporter, TelemetryError> {
    let builder = opentelemetry_otlp::MetricExporter::builder();
    let made = match protocol {
        Protocol::HttpProtobuf => builder.with_http().build(),
        #[cfg(feature = "grpc")]
        Protocol::Grpc => {
            let _inside = Driver::of(driver)?.runtime()?.enter();
            builder.with_tonic().build()
        }
        #[cfg(not(feature = "grpc"))]
        Protocol::Grpc => return Err(no_grpc(driver)),
    };
    made.map_err(|error| broken(Box::new(error)))
}

#[cfg(all(feature = "otlp", not(feature = "grpc")))]
fn no_grpc(_driver: &mut Option<Arc<Driver>>) -> TelemetryError {
    TelemetryError::NotBuilt { key: "OTEL_EXPORTER_OTLP_PROTOCOL", feature: "grpc" }
}

/// What drives gRPC: a runtime of its own, since the program's may not be there yet, or may have
/// its only thread blocked.
#[derive(Debug)]
pub(super) struct Driver(#[cfg(feature = "grpc")] Option<tokio::runtime::Runtime>);

#[cfg(feature = "grpc")]
impl Driver {
    /// The one that is there, or else a new one.
    fn of(driver: &mut Option<Arc<Self>>) -> Result<&Self, TelemetryError> {
        if driver.is_none() {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).thread_name("telemetry").enable_all();
            let runtime = builder.build().map_err(|error| broken(Box::new(error)))?;
            *driver = Some(Arc::new(Self(Some(runtime))));
        }
        driver.as_deref().ok_or_else(|| broken("no runtime".into()))
    }

    fn runtime(&self) -> Result<&tokio::runtime::Runtime, TelemetryError> {
        self.0.as_ref().ok_or_else(|| broken("no runtime".into()))
    }
}

#[cfg(feature = "grpc")]
impl Drop for Driver {
    fn drop(&mut self) {
        // Not to wait for it, which panics on an async thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
