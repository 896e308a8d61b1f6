//! What each side serves with: the same route, set up as a program's `main` does it.

use downhaul::{App, HttpServer, Metrics, Spans, Telemetry, TelemetryBuilder};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::side::Side;
use crate::http::ours;
use crate::http::theirs;
use crate::http::wire::Wire;

pub(super) fn wire(side: Side) -> Wire {
    match side {
        Side::Server => ours::whole(),
        Side::App => app(App::new("bench")),
        Side::AppTraced => app(App::new("bench").telemetry(traced())),
        Side::AppSampled => app(App::new("bench").telemetry(sampled())),
        Side::AxumTraced => {
            subscribe();
            theirs::axum_full()
        }
    }
}

fn app(mut app: App) -> Wire {
    Wire::connected(async || {
        let (server, connector) = HttpServer::in_memory(ours::router());
        app.add("http", server, []);
        let handle = app.handle();
        tokio::spawn(app.run());
        assert!(handle.ready().await, "it starts");
        connector.connect().await.expect("it listens")
    })
}

/// Spans over OTLP, by the environment; no metrics.
pub(crate) fn traced() -> Telemetry {
    install(Telemetry::builder("bench"))
}

/// No spans but those that are kept.
pub(crate) fn sampled() -> Telemetry {
    install(Telemetry::builder("bench").sampled_spans_only())
}

fn install(builder: TelemetryBuilder) -> Telemetry {
    let telemetry = builder.spans(Spans::Otlp).metrics(Metrics::None);
    telemetry.install().expect("nothing is installed yet")
}

/// Spans to the same collector by the same sampler, and lines that are off, as people set it up.
fn subscribe() {
    let exporter = SpanExporter::builder().with_http().build().expect("an address");
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let lines = tracing_subscriber::fmt::layer().with_filter(EnvFilter::from_default_env());
    // TraceLayer's span is at DEBUG.
    let spans = spans.with_filter(LevelFilter::DEBUG);
    tracing_subscriber::registry().with(spans).with(lines).init();
    // It exports as long as the process runs.
    std::mem::forget(provider);
}
