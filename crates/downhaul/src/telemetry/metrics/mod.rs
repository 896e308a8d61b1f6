//! [`Instruments`]: what is measured, by OpenTelemetry's conventions where they have a name for it.
//!
//! There are none where nobody asked for metrics, and then nothing is recorded. What a peer sends
//! becomes no attribute but as one of few words; the SDK bounds the rest, at 2000 series an
//! instrument.

mod app;
mod consumers;
mod http;
mod messages;
mod page;
mod relays;

use std::sync::OnceLock;

use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use self::app::Roots;
use self::consumers::Apps;
pub(super) use self::http::known_method;
pub(super) use self::page::Page;

/// The bounds that the conventions have for durations of requests and messages, in seconds.
const SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Those of a stop, which takes as long as the slowest request, or the grace.
const STOPS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// All that this crate records.
pub(crate) struct Instruments {
    roots: Roots,
    apps: Apps,
    request_duration: Histogram<f64>,
    active_requests: UpDownCounter<i64>,
    process_duration: Histogram<f64>,
    operation_duration: Histogram<f64>,
    sent_messages: Counter<u64>,
    consumed_messages: Counter<u64>,
    drain_duration: Histogram<f64>,
}

/// What the process has, once, as it has one subscriber.
struct Installed {
    instruments: Instruments,
    page: Option<Page>,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// The instruments of the process, if anybody wants its metrics.
pub(crate) fn instruments() -> Option<&'static Instruments> {
    INSTALLED.get().map(|installed| &installed.instruments)
}

/// The metrics as text for Prometheus, if there is a page; else why there is none.
pub(crate) fn page() -> Result<String, &'static str> {
    let none = "no metrics here: `Telemetry::builder(…).metrics_page()` makes this page";
    INSTALLED.get().and_then(|installed| installed.page.as_ref()).ok_or(none)?.text()
}

/// Makes these the instruments of the process, and this the provider of whoever asks OpenTelemetry.
pub(super) fn install(provider: &SdkMeterProvider, page: Option<Page>) {
    opentelemetry::global::set_meter_provider(provider.clone());
    let instruments = Instruments::new(provider.meter("downhaul"));
    // Whoever has set up the process's subscriber is alone here.
    let _ = INSTALLED.set(Installed { instruments, page });
}

impl Instruments {
    fn new(meter: Meter) -> Self {
        let seconds = |name, about, bounds: &[f64]| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(about);
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        let messages = |name, about| {
            meter.u64_counter(name).with_unit("{message}").with_description(about).build()
        };
        let apps = Apps::counted(&meter);
        relays::count(&apps, &meter);
        Self {
            request_duration: seconds(
                "http.server.request.duration",
                "Duration of HTTP server requests, from the head to the end of the answer",
                &SECONDS,
            ),
            active_requests: meter
                .i64_up_down_counter("http.server.active_requests")
                .with_unit("{request}")
                .with_description("Number of HTTP server requests in flight")
                .build(),
            process_duration: seconds(
                "messaging.process.duration",
                "Duration of processing a message, one attempt",
                &SECONDS,
            ),
            operation_duration: seconds(
                "messaging.client.operation.duration",
                "Duration of publishing a message, from the call to the answer of the broker",
                &SECONDS,
            ),
            sent_messages: messages(
                "messaging.client.sent.messages",
                "Number of messages that were sent to the broker",
            ),
            consumed_messages: messages(
                "messaging.client.consumed.messages",
                "Number of messages that were delivered to handlers",
            ),
            drain_duration: seconds(
                "downhaul.drain.duration",
                "Duration of stopping a component",
                &STOPS,
            ),
            roots: Roots::counted(&meter),
            apps,
        }
    }
}

#[cfg(test)]
mod tests;
