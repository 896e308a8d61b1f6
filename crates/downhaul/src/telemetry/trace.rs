//! Between the trace context that we carry and OpenTelemetry's.

use std::str::FromStr;

use downhaul_context::{Context, TraceContext};
use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanRef, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes `span` a child of a position.
pub(super) fn set_remote_parent(span: &Span, parent: SpanContext) {
    // Fails where no tracer is installed: then there is nothing to be a child.
    let _ = span.set_parent(remote(parent));
}

/// OpenTelemetry's context of what is a child of a position.
pub(super) fn remote(parent: SpanContext) -> OtelContext {
    OtelContext::new().with_remote_span_context(parent)
}

/// Begins `span` and says where it is in its trace, if there is a tracer. A span that is exported
/// is described: most are not.
///
/// From now on the span can have no other parent.
pub(super) fn begin(span: &Span, describe: impl FnOnce(&SpanRef<'_>)) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let there = span.context();
    let exported = there.span();
    if exported.span_context().is_sampled() {
        describe(&exported);
    }
    place(exported.span_context())
}

/// Says more of a span that [began](begin), if it is exported: `ctx` tells, which is what was
/// returned then. That costs less than to ask the span.
pub(super) fn conclude(ctx: &Context, span: &Span, say: impl FnOnce(&SpanRef<'_>)) {
    if !span.is_disabled() && ctx.value::<TraceContext>().is_some_and(TraceContext::is_sampled) {
        tell(span, say);
    }
}

/// Says more of a span, where there is a tracer that exports it.
pub(super) fn tell(span: &Span, say: impl FnOnce(&SpanRef<'_>)) {
    let there = span.context();
    let exported = there.span();
    // Without a tracer, the position may be a caller's.
    if exported.span_context().is_sampled() {
        say(&exported);
    }
}

/// A position as we carry it, if it is one.
pub(super) fn place(position: &SpanContext) -> Option<TraceContext> {
    let (trace, span) = (position.trace_id().to_bytes(), position.span_id().to_bytes());
    let place = TraceContext::from_ids(trace, span, position.trace_flags().to_u8()).ok()?;
    Some(place.with_tracestate(&position.trace_state().header()))
}

pub(super) fn span_context(trace: &TraceContext) -> SpanContext {
    let state = trace.tracestate().and_then(|state| TraceState::from_str(state).ok());
    let trace_id = TraceId::from_bytes(trace.trace_id_bytes());
    let span_id = SpanId::from_bytes(trace.span_id_bytes());
    let flags = TraceFlags::new(trace.flags());
    SpanContext::new(trace_id, span_id, flags, true, state.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::util::SubscriberInitExt;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_position_keeps_its_ids_and_flags() {
        let trace = TraceContext::parse(PARENT, Some("vendor=1")).unwrap();
        let position = span_context(&trace);
        assert!(position.is_valid() && position.is_remote() && position.is_sampled());
        assert_eq!(position.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(position.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(position.trace_state().header(), "vendor=1");
    }

    #[test]
    fn a_position_travels_as_it_came() {
        for state in [None, Some("vendor=1,other=2")] {
            let trace = TraceContext::parse(PARENT, state).unwrap();
            assert_eq!(place(&span_context(&trace)), Some(trace));
        }
    }

    #[test]
    fn without_a_tracer_a_span_has_no_position_and_is_not_described() {
        assert_eq!(place(&SpanContext::NONE), None);
        let ctx = Context::background();
        let _registry = tracing_subscriber::registry().set_default();
        for span in [Span::none(), tracing::info_span!("not exported")] {
            assert_eq!(begin(&span, |_| panic!("not exported")), None);
            conclude(&ctx, &span, |_| panic!("not exported"));
        }
    }
}
