//! One line an event, with the fields of the spans around it at the top level.

mod fields;
mod line;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Context as LayerContext, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use self::fields::SpanFields;
use self::line::Line;

/// What is logged without `RUST_LOG`. lapin logs each message that a broker returns at WARN,
/// payload and all, and at ERROR what its caller is told as well and says with advice; also that it
/// gives up, when ours goes on. OpenTelemetry tells at INFO how it is set up.
const DEFAULT: &str = "info,lapin=off,opentelemetry=warn";

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
        .with_default_directive(LevelFilter::INFO.into())
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    filtered(filter, format, writer)
}

fn filtered<S, W>(filter: EnvFilter, format: LogFormat, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The fields of spans are kept by `SpanFields`.
    let lines = fmt::layer().event_format(Line { format }).with_writer(writer);
    // One filter for both: a layer without would want all.
    SpanFields.and_then(EventsOnly(lines)).with_filter(Wanted::new(filter))
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

/// Filters what is told, and lets spans through that lines bear the fields of: those at INFO must
/// be there also where only warnings are wanted. Others are made where somebody asks for them. h2
/// has some for each of its frames, which take longer than the frame.
struct Wanted {
    filter: EnvFilter,
    /// Whether lines are wanted of what goes on inside some spans, as in
    /// `[http.request{request_id=id-1}]=debug`. Only then has the filter to hear of all spans,
    /// which takes a lock each time one is entered.
    goes_by_spans: bool,
}

impl Wanted {
    fn new(filter: EnvFilter) -> Self {
        let goes_by_spans = filter.to_string().contains('[');
        Self { filter, goes_by_spans }
    }

    fn by_spans(&self) -> Option<&EnvFilter> {
        self.goes_by_spans.then_some(&self.filter)
    }

    fn is_borne(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && *metadata.level() <= Level::INFO
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, cx: &LayerContext<'_, S>) -> bool {
        Self::is_borne(metadata) || Filter::enabled(&self.filter, metadata, cx)
    }

    /// Without this, all that nobody wants would be asked about each time.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // It learns here which spans it has to hear of.
        let interest = Filter::<S>::callsite_enabled(&self.filter, metadata);
        if Self::is_borne(metadata) { Interest::always() } else { interest }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Filter::<S>::max_level_hint(&self.filter)?.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, cx: LayerContext<'_, S>) {
        self.by_spans().inspect(|filter| filter.on_new_span(span, id, cx));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: LayerContext<'_, S>) {
        self.by_spans().inspect(|filter| filter.on_record(id, values, cx));
    }

    fn on_enter(&self, id: &Id, cx: LayerContext<'_, S>) {
        self.by_spans().inspect(|filter| filter.on_enter(id, cx));
    }

    fn on_exit(&self, id: &Id, cx: LayerContext<'_, S>) {
        self.by_spans().inspect(|filter| filter.on_exit(id, cx));
    }

    fn on_close(&self, id: Id, cx: LayerContext<'_, S>) {
        self.by_spans().inspect(|filter| filter.on_close(id, cx));
    }
}

#[cfg(test)]
mod tests;
