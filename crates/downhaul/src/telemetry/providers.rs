//! Exporters, as far as this crate was built with them.

use std::sync::Arc;

#[cfg(feature = "otlp")]
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter};
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

/// What makes exporters.
pub(super) struct Exporters<'a> {
    pub(super) environment: &'a mut Environment,
    #[cfg_attr(not(feature = "grpc"), allow(dead_code, reason = "nothing is driven"))]
    pub(super) driver: &'a mut Option<Arc<Driver>>,
}

impl Exporters<'_> {
    /// What exports spans, too.
    pub(super) fn spans(
        &mut self,
        builder: TracerProviderBuilder,
        exporter: Exporter,
    ) -> Result<TracerProviderBuilder, TelemetryError> {
        match exporter {
            #[cfg(feature = "otlp")]
            Exporter::Otlp => {
                let exporter = self.otlp(Signal::Traces, |over| match over {
                    #[cfg(feature = "grpc")]
                    Protocol::Grpc => SpanExporter::builder().with_tonic().build(),
                    _ => SpanExporter::builder().with_http().build(),
                })?;
                Ok(builder.with_batch_exporter(exporter))
            }
            #[cfg(feature = "stdout")]
            Exporter::Console => {
                Ok(builder.with_batch_exporter(opentelemetry_stdout::SpanExporter::default()))
            }
            other => {
                let _ = builder;
                Err(not_built("OTEL_TRACES_EXPORTER", other))
            }
        }
    }

    /// What makes metrics, and exports them, if anybody asks for them.
    pub(super) fn metrics(
        &mut self,
        exporters: &[Exporter],
        resource: Resource,
    ) -> Result<Meters, TelemetryError> {
        if exporters.is_empty() {
            return Ok((None, None));
        }
        let mut builder = SdkMeterProvider::builder().with_resource(resource);
        let mut page = None;
        for exporter in exporters {
            builder = self.metrics_to(builder, *exporter, &mut page)?;
        }
        Ok((Some(builder.build()), page))
    }

    fn metrics_to(
        &mut self,
        builder: MeterProviderBuilder,
        exporter: Exporter,
        page: &mut Option<Page>,
    ) -> Result<MeterProviderBuilder, TelemetryError> {
        match exporter {
            #[cfg(feature = "otlp")]
            Exporter::Otlp => {
                let exporter = self.otlp(Signal::Metrics, |over| match over {
                    #[cfg(feature = "grpc")]
                    Protocol::Grpc => MetricExporter::builder().with_tonic().build(),
                    _ => MetricExporter::builder().with_http().build(),
                })?;
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
                let _ = (builder, page);
                Err(not_built("OTEL_METRICS_EXPORTER", other))
            }
        }
    }

    /// What is made to send a signal to a collector, inside what drives it.
    #[cfg(feature = "otlp")]
    fn otlp<E>(
        &mut self,
        signal: Signal,
        make: impl FnOnce(Protocol) -> Result<E, ExporterBuildError>,
    ) -> Result<E, TelemetryError> {
        self.environment.check_endpoint(signal)?;
        let protocol = self.environment.protocol(signal)?;
        #[cfg(feature = "grpc")]
        let _inside = match protocol {
            Protocol::Grpc => Some(Driver::of(self.driver)?.runtime()?.enter()),
            Protocol::HttpProtobuf => None,
        };
        #[cfg(not(feature = "grpc"))]
        if protocol == Protocol::Grpc {
            let (key, feature) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
            return Err(TelemetryError::NotBuilt { key, feature });
        }
        make(protocol).map_err(|error| broken(Box::new(error)))
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
