//! Between the trace context that we carry and OpenTelemetry's.

use std::borrow::Cow;
use std::str::FromStr;

use downhaul_context::{Context, TraceContext};
use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes `span` a child of the position that `ctx` carries, if it carries one.
pub(super) fn set_remote_parent(span: &Span, ctx: &Context) {
    if let Some(parent) = ctx.value::<TraceContext>().and_then(span_context) {
        // Fails where no tracer is installed: then there is nothing to be a child.
        let _ = span.set_parent(OtelContext::new().with_remote_span_context(parent));
    }
}

/// Links `span` to the position that `ctx` carries, if it carries one.
pub(super) fn add_link(span: &Span, ctx: &Context) {
    if let Some(trace) = ctx.value::<TraceContext>() {
        link_to(span, trace);
    }
}

/// Links `span` to a position.
pub(super) fn link_to(span: &Span, trace: &TraceContext) {
    if let Some(position) = span_context(trace) {
        span.add_link(position);
    }
}

/// Where `span` is in its trace. Nowhere without a tracer.
///
/// From now on the span has begun: it can have no other parent.
pub(super) fn position(span: &Span) -> Option<SpanContext> {
    if span.is_disabled() {
        return None;
    }
    let position = span.context().span().span_context().clone();
    position.is_valid().then_some(position)
}

/// Whether a span there will be exported, so that it is worth describing.
pub(super) fn is_kept(position: Option<&SpanContext>) -> bool {
    position.is_some_and(SpanContext::is_sampled)
}

/// Binds a position in place of the one that `ctx` carries. Without one, `ctx` as it is.
pub(super) fn at(ctx: Context, position: Option<&SpanContext>) -> Context {
    let Some(position) = position else { return ctx };
    let parent = traceparent(position);
    let state = position.trace_state().header();
    match TraceContext::parse(&parent, Some(&state)) {
        Ok(trace) => ctx.with_value(trace),
        Err(_) => ctx,
    }
}

/// A position as W3C has it: `00-<32 hex>-<16 hex>-<2 hex>`.
fn traceparent(position: &SpanContext) -> String {
    let mut text = String::with_capacity("00-".len() + 32 + 1 + 16 + 1 + 2);
    text.push_str("00");
    let flags = [position.trace_flags().to_u8()];
    let (trace, span) = (position.trace_id().to_bytes(), position.span_id().to_bytes());
    for field in [&trace[..], &span[..], &flags[..]] {
        text.push('-');
        let digits = field.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    text
}

/// Binds the position of `span`.
pub(super) fn at_span(ctx: Context, span: &Span) -> Context {
    at(ctx, position(span).as_ref())
}

/// Names a span that has begun. Its field `otel.name` counts only before that.
pub(super) fn rename(span: &Span, name: impl Into<Cow<'static, str>>) {
    span.context().span().update_name(name);
}

fn span_context(trace: &TraceContext) -> Option<SpanContext> {
    let mut fields = trace.traceparent().split('-').skip(1);
    let trace_id = TraceId::from_hex(fields.next()?).ok()?;
    let span_id = SpanId::from_hex(fields.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(fields.next()?, 16).ok()?);
    let state = trace.tracestate().and_then(|state| TraceState::from_str(state).ok());
    Some(SpanContext::new(trace_id, span_id, flags, true, state.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_position_keeps_its_ids_and_flags() {
        let trace = TraceContext::parse(PARENT, Some("vendor=1")).unwrap();
        let position = span_context(&trace).unwrap();
        assert!(position.is_valid() && position.is_remote() && position.is_sampled());
        assert_eq!(position.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(position.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(position.trace_state().header(), "vendor=1");
    }

    #[test]
    fn a_position_travels_as_it_came() {
        let position = span_context(&TraceContext::parse(PARENT, None).unwrap()).unwrap();
        assert_eq!(traceparent(&position), PARENT);
    }

    #[test]
    fn without_a_tracer_the_inbound_position_passes_through() {
        let trace = TraceContext::parse(PARENT, None).unwrap();
        let ctx = Context::background().with_value(trace.clone());
        let ctx = at_span(ctx, &Span::none());
        assert_eq!(ctx.value::<TraceContext>(), Some(&trace));
    }
}
