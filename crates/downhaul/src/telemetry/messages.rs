//! [`MessageSpans`]: the spans and the metrics of each message that is published or processed.

use downhaul_consumer::{
    MessageObserver, Meta, Outgoing, Processed, PublishErrorKind, Published, Settlement, headers,
};
use downhaul_context::{Context, RequestId, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::baggage;
use super::metrics::instruments;
use super::sampling;
use super::trace::{begin, set_remote_parent, span_context, tell};

/// Makes producer and consumer spans by OpenTelemetry's conventions, and their metrics, if anybody
/// wants them.
///
/// A message that is processed is a child of its publish, and linked to it. A batch has one span,
/// which is linked to the publish of each of its messages: of the first 128, unless
/// `OTEL_SPAN_LINK_COUNT_LIMIT` says otherwise.
///
/// A [`ConsumerWorker`](crate::ConsumerWorker) has it by itself. A publisher is given it, by
/// [`Publisher::with_observer`](downhaul_consumer::Publisher::with_observer).
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a name for behaviour, with nothing to add")]
pub struct MessageSpans;

/// What a span of processing is called in this program.
const PROCESS: &str = "message.process";

impl MessageObserver for MessageSpans {
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        if let Some(instruments) = instruments() {
            instruments.message_came(meta);
        }
        let begin = || begin_processing(&ctx, meta);
        let (span, place) = sampling::span(ctx.value(), &SpanKind::Consumer, begin);
        let headers = || meta.message.headers().get(baggage::HEADER).into_iter();
        (baggage::bind(bound(ctx, place), headers), span)
    }

    fn process_batch(&self, ctx: Context, batch: &[Meta]) -> (Context, Span) {
        if let Some(instruments) = instruments() {
            batch.iter().for_each(|meta| instruments.message_came(meta));
        }
        let Some(first) = batch.first() else { return (ctx, Span::none()) };
        let begin = || begin_batch(first, batch);
        let (span, place) = sampling::span(ctx.value(), &SpanKind::Consumer, begin);
        (bound(ctx, place), span)
    }

    fn publish(&self, ctx: Context, outgoing: &Outgoing, system: &'static str) -> (Context, Span) {
        let begin = || begin_publish(&ctx, outgoing, system);
        let (span, place) = sampling::span_inside(ctx.value(), &SpanKind::Producer, begin);
        (bound(ctx, place), span)
    }

    fn published(&self, publish: &Published<'_>) {
        if let Some(kind) = publish.error {
            failed("message.publish", failure(kind));
        }
        if let Some(instruments) = instruments() {
            instruments.message_published(publish);
        }
    }

    fn processed(&self, attempt: &Processed<'_>) {
        if let Some(error) = error_type(attempt) {
            failed(PROCESS, error);
        }
        if let Some(instruments) = instruments() {
            instruments.message_processed(attempt);
        }
        attempt.log();
    }
}

/// The context with its place in a trace, if that is another now.
fn bound(ctx: Context, place: Option<TraceContext>) -> Context {
    match place {
        Some(place) => ctx.with_value(place),
        None => ctx,
    }
}

fn begin_processing(ctx: &Context, meta: &Meta) -> (Span, Option<TraceContext>) {
    let destination = destination(meta);
    let position = meta.position();
    let offset = position.filter(|_| meta.system() == "kafka").map(|position| position.offset);
    let span = info_span!(
        PROCESS,
        request_id = request_id(ctx),
        otel.name = format!("process {destination}"),
        otel.kind = "consumer",
        messaging.system = meta.system(),
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = destination,
        messaging.destination.partition.id = position.map(|position| display(position.partition)),
        messaging.kafka.offset = offset,
        messaging.consumer.group.name = group(meta),
        messaging.message.id = meta.message.id(),
    );
    if let Some(publish) = ctx.value().map(span_context) {
        set_remote_parent(&span, publish.clone());
        span.add_link(publish);
    }
    let place = begin(&span, |_| {});
    (span, place)
}

fn begin_batch(first: &Meta, batch: &[Meta]) -> (Span, Option<TraceContext>) {
    let destination = destination(first);
    let span = info_span!(
        PROCESS,
        otel.name = format!("process {destination}"),
        otel.kind = "consumer",
        messaging.system = first.system(),
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = destination,
        messaging.consumer.group.name = group(first),
        messaging.batch.message_count = i64::try_from(batch.len()).unwrap_or(i64::MAX),
    );
    let traces = batch.iter().filter_map(position);
    traces.for_each(|trace| span.add_link(span_context(&trace)));
    let place = begin(&span, |_| {});
    (span, place)
}

fn begin_publish(
    ctx: &Context,
    outgoing: &Outgoing,
    system: &'static str,
) -> (Span, Option<TraceContext>) {
    let destination = outgoing.destination.name();
    let span = info_span!(
        "message.publish",
        request_id = request_id(ctx),
        otel.name = format!("publish {destination}"),
        otel.kind = "producer",
        messaging.system = system,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = destination,
        messaging.message.id = outgoing.message.id(),
    );
    let place = begin(&span, |_| {});
    (span, place)
}

/// Says of the span around that it failed, if it is one of ours.
fn failed(name: &str, error: &'static str) {
    let span = Span::current();
    if span.metadata().is_some_and(|metadata| metadata.name() == name) {
        tell(&span, |exported| {
            exported.set_attribute(KeyValue::new("error.type", error));
            exported.set_status(Status::error(""));
        });
    }
}

/// Why an attempt failed, in one of few words: what became of the message.
pub(super) fn error_type(attempt: &Processed<'_>) -> Option<&'static str> {
    match attempt.settlement {
        Settlement::Ack | Settlement::Release => None,
        Settlement::Retry { .. } => Some("retry"),
        Settlement::DeadLetter { .. } => Some("dead_letter"),
        Settlement::Drop { .. } => attempt.error.map(|_| "drop"),
        _ => Some("_OTHER"),
    }
}

/// Why a publish failed, in one of few words.
pub(super) fn failure(kind: PublishErrorKind) -> &'static str {
    match kind {
        PublishErrorKind::Nacked => "nacked",
        PublishErrorKind::NotSent => "not_sent",
        PublishErrorKind::Refused => "refused",
        PublishErrorKind::Returned => "returned",
        PublishErrorKind::Unknown => "unknown",
        _ => "_OTHER",
    }
}

/// Where a message came from: the queue, or in Kafka, where that is the group, the topic.
pub(super) fn destination(meta: &Meta) -> &str {
    group(meta).and_then(|_| meta.topic()).unwrap_or(meta.queue())
}

/// The consumer group, where the broker has such.
pub(super) fn group(meta: &Meta) -> Option<&str> {
    (meta.system() == "kafka").then_some(meta.queue().as_str())
}

/// The position in a trace at which a message was published.
fn position(meta: &Meta) -> Option<TraceContext> {
    let headers = meta.message.headers();
    let state = headers.get(headers::TRACESTATE);
    headers.get(headers::TRACEPARENT).and_then(|it| TraceContext::parse(it, state).ok())
}

fn request_id(ctx: &Context) -> Option<&str> {
    ctx.value::<RequestId>().map(RequestId::as_str)
}
