//! One line an event, with the fields of the spans around it at the top level.

mod fields;
mod line;

use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Context as LayerContext, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use self::fields::SpanFields;
use self::line::Line;

/// What is logged without `RUST_LOG`. lapin logs each message that a broker returns at WARN,
/// payload and all. OpenTelemetry tells at INFO how it is set up.
const DEFAULT: &str = "info,lapin=error,opentelemetry=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogFormat {
    /// `2026-11-23T10:00:00.000000Z  INFO orders: order placed request_id=…`
    #[default]
    Text,
    /// One JSON object a line, all fields at the top level.
    Json,
}

/// The layer that writes lines.
pub(crate) fn layer<S, W>(format: LogFormat, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    // The fields of spans are kept by `SpanFields`.
    let lines = fmt::layer().event_format(Line { format }).with_writer(writer);
    // One filter for both: a layer without would want all events.
    SpanFields.and_then(EventsOnly(lines)).with_filter(Events(filter))
}

/// A layer that is told of events alone: the one of lines would keep text with each span, and there
/// is none.
struct EventsOnly<L>(L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for EventsOnly<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.0.on_layer(subscriber);
    }

    fn on_event(&self, event: &Event<'_>, cx: LayerContext<'_, S>) {
        self.0.on_event(event, cx);
    }
}

/// Filters events, and lets all spans through: a line must bear its request id also where only
/// warnings are wanted.
struct Events(EnvFilter);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for Events {
    fn enabled(&self, metadata: &Metadata<'_>, cx: &LayerContext<'_, S>) -> bool {
        metadata.is_span() || Filter::enabled(&self.0, metadata, cx)
    }

    /// Without this, all events that nobody wants would be asked about each time.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_span() {
            true => Interest::always(),
            false => Filter::<S>::callsite_enabled(&self.0, metadata),
        }
    }
}

#[cfg(test)]
mod tests;
