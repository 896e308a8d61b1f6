//! [`MessageSpans`]: the spans of each message that is published or processed.

use downhaul_consumer::{MessageObserver, Meta, Outgoing};
use downhaul_context::{Context, RequestId};
use tracing::{Span, info_span};

use super::trace::{add_link, at_span, set_remote_parent};

/// Makes producer and consumer spans by OpenTelemetry's conventions. A message that is processed is
/// a child of its publish, and linked to it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a name for behaviour, with nothing to add")]
pub struct MessageSpans;

impl MessageObserver for MessageSpans {
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        let span = info_span!(
            "message.process",
            request_id = request_id(&ctx),
            otel.name = format!("process {}", meta.queue),
            otel.kind = "consumer",
            messaging.system = meta.system,
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = &*meta.queue,
            messaging.message.id = meta.message.id(),
        );
        set_remote_parent(&span, &ctx);
        add_link(&span, &ctx);
        let ctx = at_span(ctx, &span);
        (ctx, span)
    }

    fn publish(&self, ctx: Context, outgoing: &Outgoing, system: &'static str) -> (Context, Span) {
        let destination = outgoing.destination.name();
        let span = info_span!(
            "message.publish",
            request_id = request_id(&ctx),
            otel.name = format!("publish {destination}"),
            otel.kind = "producer",
            messaging.system = system,
            messaging.operation.name = "publish",
            messaging.operation.type = "send",
            messaging.destination.name = destination,
            messaging.message.id = outgoing.message.id(),
        );
        let ctx = at_span(ctx, &span);
        (ctx, span)
    }
}

fn request_id(ctx: &Context) -> &str {
    ctx.value::<RequestId>().map(RequestId::as_str).unwrap_or_default()
}
