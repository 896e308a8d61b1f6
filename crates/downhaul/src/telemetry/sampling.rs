//! Whether a trace is kept, asked before there is a span, where those that are not kept have none.
//!
//! A span costs a small request half of its time, and most are thrown away at their end. See
//! [`TelemetryBuilder::sampled_spans_only`](super::TelemetryBuilder::sampled_spans_only).

use std::cell::Cell;
use std::sync::OnceLock;

use downhaul_context::{TraceContext, ambient};
use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry_sdk::trace::{
    Config, IdGenerator, RandomIdGenerator, SamplingDecision, ShouldSample,
};
use tracing::Span;

use super::trace::{remote, span_context};

/// The flags of a place in a trace that is not kept.
const NOT_KEPT: u8 = 0;

/// Set where spans of traces that are not kept are not made.
static SAMPLING: OnceLock<Sampling> = OnceLock::new();

/// Decides before there is a span.
#[derive(Debug)]
pub(super) struct Sampling {
    /// `None` where nothing is exported.
    sampler: Option<Box<dyn ShouldSample>>,
    ids: RandomIdGenerator,
}

thread_local! {
    /// The id of the trace that was decided about, for the span that begins it, which is made next.
    static DECIDED: Cell<Option<TraceId>> = const { Cell::new(None) };
}

impl Sampling {
    /// As the provider does, if any spans are exported: it reads the same variables.
    pub(super) fn from_environment(exports: bool) -> Self {
        let sampler = exports.then(|| Config::default().sampler);
        Self { sampler, ids: RandomIdGenerator::default() }
    }

    /// Has no spans made from now on but those that are kept.
    pub(super) fn install(self) {
        let _ = SAMPLING.set(self);
    }
}

/// Makes the span of what begins under a parent, unless it is not kept: then there is none. Says
/// where that is in its trace, if that is not where the parent is.
///
/// What is decided here is not decided otherwise later: samplers go by the id of the trace, or by
/// what they find in the parent.
pub(super) fn span(
    parent: Option<&TraceContext>,
    kind: &SpanKind,
    make: impl FnOnce() -> (Span, Option<TraceContext>),
) -> (Span, Option<TraceContext>) {
    let Some(Sampling { sampler, ids }) = SAMPLING.get() else { return make() };
    let Some(sampler) = sampler else { return (Span::none(), None) };
    let trace = match parent {
        Some(parent) => TraceId::from_bytes(parent.trace_id_bytes()),
        None => ids.new_trace_id(),
    };
    let around = parent.map(|parent| remote(span_context(parent)));
    let decided = sampler.should_sample(around.as_ref(), trace, "", kind, &[], &[]);
    if decided.decision == SamplingDecision::RecordAndSample {
        DECIDED.set(parent.is_none().then_some(trace));
        return make();
    }
    if parent.is_some_and(|parent| !parent.is_sampled()) {
        // It goes on as it came.
        return (Span::none(), None);
    }
    let (trace, span) = (trace.to_bytes(), ids.new_span_id().to_bytes());
    let place = TraceContext::from_ids(trace, span, NOT_KEPT).ok();
    let place = match parent {
        Some(_) => place.map(|place| place.with_tracestate(&decided.trace_state.header())),
        // What begins here has no state.
        None => place,
    };
    (Span::none(), place)
}

/// Makes the span of a part of something, which is kept as that is, where its place is known. Else
/// it is inside the span that is current; without one, in what this task works on, or it begins a
/// trace.
pub(super) fn span_inside(
    whole: Option<&TraceContext>,
    kind: &SpanKind,
    make: impl FnOnce() -> (Span, Option<TraceContext>),
) -> (Span, Option<TraceContext>) {
    if whole.is_some() {
        return span(whole, kind, make);
    }
    if !Span::current().is_none() {
        return make();
    }
    let around = ambient::value::<TraceContext>();
    let (span, place) = span(around.as_ref(), kind, make);
    (span, place.or(around))
}

/// Gives the span that begins a trace the id that was decided about.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        DECIDED.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}
