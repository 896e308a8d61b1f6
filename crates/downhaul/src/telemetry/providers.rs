//! Exporters, as far as this crate was built with them.

use std::sync::Arc;

#[cfg(feature = "otlp-tls")]
use opentelemetry_otlp::WithHttpConfig;
#[cfg(feature = "otlp")]
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter};
#[cfg(feature = "grpc")]
use opentelemetry_otlp::{WithTonicConfig, tonic_types::transport::ClientTlsConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use opentelemetry_sdk::trace::TracerProviderBuilder;

use super::TelemetryError;
use super::driver::Driver;
#[cfg(feature = "otlp")]
use super::environment::Signal;
use super::environment::{Environment, Exporter};
use super::exports::Collectors;
use super::metrics::Page;
#[cfg(feature = "otlp")]
use super::otlp::Transport;

/// What metrics are made by, and the page that shows them.
pub(super) type Meters = (Option<SdkMeterProvider>, Option<Page>);

/// What makes exporters.
pub(super) struct Exporters<'a> {
    pub(super) environment: &'a mut Environment,
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "there is none"))]
    pub(super) collectors: &'a mut Collectors,
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nothing is driven"))]
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
                let exporter = self.otlp(Signal::Traces, |transport| match transport {
                    Transport::Http => SpanExporter::builder().with_http().build(),
                    #[cfg(feature = "otlp-tls")]
                    Transport::Https(client) => {
                        SpanExporter::builder().with_http().with_http_client(client).build()
                    }
                    #[cfg(feature = "grpc")]
                    Transport::Grpc(tls) => {
                        over_grpc(SpanExporter::builder().with_tonic(), tls).build()
                    }
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
                let exporter = self.otlp(Signal::Metrics, |transport| match transport {
                    Transport::Http => MetricExporter::builder().with_http().build(),
                    #[cfg(feature = "otlp-tls")]
                    Transport::Https(client) => {
                        MetricExporter::builder().with_http().with_http_client(client).build()
                    }
                    #[cfg(feature = "grpc")]
                    Transport::Grpc(tls) => {
                        over_grpc(MetricExporter::builder().with_tonic(), tls).build()
                    }
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
        make: impl FnOnce(Transport) -> Result<E, ExporterBuildError>,
    ) -> Result<E, TelemetryError> {
        let collector = self.environment.collector_name(signal);
        match signal {
            Signal::Traces => self.collectors.spans = collector,
            Signal::Metrics => self.collectors.metrics = collector,
        }
        let transport = Transport::of(signal, self.environment, self.driver)?;
        let _inside = self.driver.as_ref().map(|driver| driver.handle().enter());
        make(transport).map_err(|error| broken(Box::new(error)))
    }
}

/// Encrypted, if it is to be.
#[cfg(feature = "grpc")]
fn over_grpc<B: WithTonicConfig>(builder: B, tls: Option<ClientTlsConfig>) -> B {
    match tls {
        Some(tls) => builder.with_tls_config(tls),
        None => builder,
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
