//! Spans that a program makes itself, in a request or a message that has none.
//!
//! They would begin traces of their own, some of which would be kept. So they are told where they
//! are: [`Placed`] goes before the layer that makes OpenTelemetry's spans, and [`Made`] behind it.

use std::cell::RefCell;

use downhaul_context::{TraceContext, ambient};
use opentelemetry::ContextGuard;
use tracing::span::{Attributes, Id};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::trace::{remote, span_context};

thread_local! {
    /// OpenTelemetry's context while a span is made.
    static PLACE: RefCell<Option<ContextGuard>> = const { RefCell::new(None) };
}

/// Puts what begins a trace into that of the request or the message, if that is not kept.
pub(super) struct Placed;

/// Ends what [`Placed`] has begun.
pub(super) struct Made;

/// What they are told of: the spans that are exported.
pub(super) fn exported() -> FilterFn {
    let wanted: fn(&Metadata<'_>) -> bool = |what| what.is_span() && *what.level() <= Level::INFO;
    filter_fn(wanted).with_max_level_hint(Level::INFO)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Placed {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, cx: LayerContext<'_, S>) {
        let begins = cx.span(id).is_some_and(|span| span.parent().is_none());
        let place = begins.then(ambient::value::<TraceContext>).flatten();
        let not_kept = place.filter(|place| !place.is_sampled());
        PLACE.set(not_kept.map(|place| remote(span_context(&place)).attach()));
    }
}

impl<S: Subscriber> Layer<S> for Made {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: LayerContext<'_, S>) {
        PLACE.take();
    }
}
