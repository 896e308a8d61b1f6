//! [`TelemetryBuilder`]: what is seen of a process, and where.

use std::io;

use downhaul_context::ambient;
use downhaul_http::AccessLog;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{Level, Metadata, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::environment::{Environment, Exporter, Signal};
use super::exports::Exports;
use super::own_spans::{Made, Placed, exported};
use super::providers::{Exporters, Meters};
use super::sampling::{Ids, Sampling};
use super::{Telemetry, TelemetryError, baggage, metrics};
use crate::logging::{self, LogFormat};

/// Where spans go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spans {
    /// To where `OTEL_TRACES_EXPORTER` says: `otlp`, `console` or `none`. Without it, to the
    /// collector that `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names,
    /// if one does.
    #[default]
    FromEnvironment,
    /// To a collector, over OTLP. Where none is named, it is on this machine, at the port that the
    /// specification has for the protocol.
    Otlp,
    /// To standard output, for trying things out.
    Stdout,
    /// Nowhere. W3C trace context passes through from requests to messages as it came.
    None,
}

/// Where metrics go, besides the [page](TelemetryBuilder::metrics_page).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metrics {
    /// To where `OTEL_METRICS_EXPORTER` says: `otlp`, `console` or `none`, and `prometheus` for the
    /// page. Without it, to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` names, if one does.
    #[default]
    FromEnvironment,
    /// To a collector, over OTLP, as [`Spans::Otlp`].
    Otlp,
    /// To standard output, for trying things out.
    Stdout,
    /// Nowhere.
    None,
}

/// How [`Telemetry`] is made.
#[derive(Clone, Debug)]
#[must_use = "nothing is set up before `install`"]
pub struct TelemetryBuilder {
    service: String,
    log: LogFormat,
    spans: Spans,
    metrics: Metrics,
    page: bool,
    baggage: Vec<String>,
    sampled_only: bool,
}

impl TelemetryBuilder {
    pub(super) fn new(service: String) -> Self {
        let (log, spans, metrics) = (LogFormat::default(), Spans::default(), Metrics::default());
        let (page, baggage, sampled_only) = (false, Vec::new(), false);
        Self { service, log, spans, metrics, page, baggage, sampled_only }
    }

    /// How log lines look. Default [`LogFormat::Text`].
    pub fn log(mut self, format: LogFormat) -> Self {
        self.log = format;
        self
    }

    /// Where spans go. Default [`Spans::FromEnvironment`].
    pub fn spans(mut self, spans: Spans) -> Self {
        self.spans = spans;
        self
    }

    /// Where metrics go. Default [`Metrics::FromEnvironment`].
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Serves the metrics as `GET /metrics` of the [`Control`](crate::Control) interface, as text
    /// that Prometheus reads. Takes feature `prometheus`.
    pub fn metrics_page(mut self) -> Self {
        self.page = true;
        self
    }

    /// Lets these keys of W3C baggage in, as a [`Baggage`](crate::Baggage) in the contexts of
    /// requests and messages, which goes on with messages and calls. All others end here: baggage
    /// is what anybody says, and it leaves the service for whoever is called.
    pub fn baggage(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.baggage.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Makes no span for a request or a message that the sampler does not keep. A span costs a
    /// small request 40 % of its time, whoever throws it away: this is for services that keep few,
    /// and count microseconds.
    ///
    /// Log lines bear their request id all the same, and messages that are published go on with the
    /// trace. Two things need a hand of yours:
    ///
    /// - A future that you spawn into a task of its own takes the id along in a span that you make,
    ///   as in `tokio::spawn(work.instrument(info_span!("work")))`. There is no current span that
    ///   `in_current_span` could give it.
    /// - The place in the trace is in the context, for calls by
    ///   [`CallLayer`](downhaul_http::CallLayer) or [`inject`](downhaul_http::inject). The current
    ///   span, where others look for it, has none.
    pub fn sampled_spans_only(mut self) -> Self {
        self.sampled_only = true;
        self
    }

    /// Sets up the process's subscriber and its instruments. Call it once, first thing in `main`.
    ///
    /// A variable of the environment with a value that is not known is ignored, and a line at WARN
    /// names it.
    ///
    /// # Errors
    ///
    /// If the process has a subscriber already, or if an exporter that is asked for cannot be made:
    /// the crate was built without it, or the environment names no address or a file for TLS that
    /// cannot be used.
    pub fn install(self) -> Result<Telemetry, TelemetryError> {
        let mut environment = Environment::of_process();
        environment.check_filter();
        let disabled = environment.is_disabled();
        let resource = self.resource(&environment);
        let (mut exports, mut page) = (Exports::default(), None);
        if !disabled {
            let (driver, collectors) = (&mut exports.driver, &mut exports.collectors);
            let mut make = Exporters { environment: &mut environment, collectors, driver };
            exports.spans = self.tracer(&mut make, resource.clone())?;
            (exports.metrics, page) = self.meter(&mut make, resource)?;
        }
        // On a thread of its own: nobody who does not read our lines can hold the service up.
        let (writer, lines) = tracing_appender::non_blocking(io::stderr());
        self.subscribe(writer, exports.spans.as_ref())?;
        if !self.baggage.is_empty() {
            baggage::allow(self.baggage);
        }
        if let Some(provider) = &exports.metrics {
            metrics::install(provider, page);
        }
        for (variable, why) in environment.mistakes {
            tracing::warn!(variable, "ignored: {why}");
        }
        Ok(Telemetry::new(exports, lines))
    }

    /// Sets up what writes lines and makes spans.
    fn subscribe(
        &self,
        writer: NonBlocking,
        provider: Option<&SdkTracerProvider>,
    ) -> Result<(), TelemetryError> {
        let spans = provider.map(|provider| span_layer(provider.tracer("downhaul")));
        let sampling = self.sampled_only.then(|| Sampling::from_environment(spans.is_some()));
        let placed = self.sampled_only.then(|| Placed.with_filter(exported()));
        let made = self.sampled_only.then(|| Made.with_filter(exported()));
        let all = tracing_subscriber::registry().with(placed).with(spans).with(made);
        all.with(logging::layer(self.log, writer)).try_init()?;
        // Lines take the request id from there where no span has it.
        ambient::track();
        sampling.into_iter().for_each(Sampling::install);
        Ok(())
    }

    /// What all that is exported says of the service.
    fn resource(&self, environment: &Environment) -> Resource {
        let name = environment.service_name().unwrap_or_else(|| self.service.clone());
        Resource::builder().with_service_name(name).build()
    }

    fn tracer(
        &self,
        make: &mut Exporters<'_>,
        resource: Resource,
    ) -> Result<Option<SdkTracerProvider>, TelemetryError> {
        let exporters = match self.spans {
            Spans::FromEnvironment => make.environment.exporters(Signal::Traces),
            Spans::Otlp => vec![Exporter::Otlp],
            Spans::Stdout => vec![Exporter::Console],
            Spans::None => Vec::new(),
        };
        if exporters.is_empty() {
            return Ok(None);
        }
        make.environment.check_sampler();
        let mut builder = SdkTracerProvider::builder().with_resource(resource);
        for exporter in exporters {
            builder = make.spans(builder, exporter)?;
        }
        if self.sampled_only {
            builder = builder.with_id_generator(Ids::default());
        }
        Ok(Some(builder.build()))
    }

    fn meter(
        &self,
        make: &mut Exporters<'_>,
        resource: Resource,
    ) -> Result<Meters, TelemetryError> {
        let mut exporters = match self.metrics {
            Metrics::FromEnvironment => make.environment.exporters(Signal::Metrics),
            Metrics::Otlp => vec![Exporter::Otlp],
            Metrics::Stdout => vec![Exporter::Console],
            Metrics::None => Vec::new(),
        };
        if self.page && !exporters.contains(&Exporter::Prometheus) {
            exporters.push(Exporter::Prometheus);
        }
        make.metrics(&exporters, resource)
    }
}

/// The layer that makes spans of tracing's.
pub(crate) fn span_layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // What a log line of ours does not say, a span need not say either.
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // A handled failure that is logged is not a failed span.
        .with_error_events_to_status(false);
    // A span says all that its access line does.
    let wanted = |what: &Metadata<'_>| {
        *what.level() <= Level::INFO && (what.is_span() || what.target() != AccessLog::TARGET)
    };
    layer.with_filter(filter_fn(wanted).with_max_level_hint(Level::INFO))
}
