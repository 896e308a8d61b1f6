//! Whom we compare with.

/// A peer: how the table calls it, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) tag: &'static str,
    pub(crate) name: &'static str,
}

pub(crate) const TOKEN: Peer =
    Peer { tag: "tokio-util", name: "tokio_util::sync::CancellationToken" };
pub(crate) const TOKEN_AND_SLEEP: Peer =
    Peer { tag: "+ Sleep", name: "CancellationToken and tokio::time::Sleep" };
pub(crate) const SLEEP: Peer = Peer { tag: "Sleep", name: "tokio::time::Sleep" };
pub(crate) const TELEMETRY: Peer = Peer { tag: "otel", name: "opentelemetry::Context" };
pub(crate) const EXTENSIONS: Peer = Peer { tag: "http", name: "http::Extensions" };
pub(crate) const PARTS: Peer = Peer {
    tag: "parts",
    name: "CancellationToken, DropGuard, http::Extensions, tokio::time::timeout, tokio::select!",
};
pub(crate) const HYPER: Peer = Peer { tag: "hyper", name: "hyper, http1, nothing added" };
pub(crate) const AXUM: Peer = Peer { tag: "axum", name: "axum::Router on hyper, http1" };
pub(crate) const AXUM_FULL: Peer = Peer {
    tag: "axum full",
    name: "axum on hyper with tower_http's TimeoutLayer, request id and TraceLayer",
};
pub(crate) const AXUM_TRACED: Peer = Peer {
    tag: "axum otel",
    name: "axum full under tracing-opentelemetry, the same sampler, exporter and quiet lines",
};
pub(crate) const BARE: Peer =
    Peer { tag: "no app", name: "the same router on downhaul_http::Server, without an app" };
pub(crate) const TRACKER: Peer = Peer {
    tag: "TaskTracker",
    name: "100 tasks on a CancellationToken and tokio_util's TaskTracker, in no order",
};
pub(crate) const CHANNEL: Peer =
    Peer { tag: "mpsc", name: "tokio::sync::mpsc and a loop that calls a boxed handler" };
pub(crate) const RUSTSTREAM_MEMORY: Peer = Peer {
    tag: "ruststream",
    name: "a handler and a publisher of ruststream, on its memory broker",
};
pub(crate) const FEW_BUFFERED: Peer =
    Peer { tag: "few", name: "ours, with 1,024 messages buffered" };
pub(crate) const STREAM_CONSUMER: Peer = Peer {
    tag: "StreamConsumer",
    name: "a loop on rdkafka's StreamConsumer that stores offsets, with auto commit",
};
pub(crate) const CONCURRENT: Peer = Peer {
    tag: "concurrent",
    name: "StreamConsumer's stream, 16 messages at a time, with librdkafka's own defaults",
};
pub(crate) const FUTURE_PRODUCER: Peer = Peer {
    tag: "FutureProducer",
    name: "rdkafka's FutureProducer with 10,000 messages under way, idempotent as ours",
};
pub(crate) const ACK_EACH: Peer = Peer {
    tag: "ack each",
    name: "a loop on lapin that awaits the acknowledgement of each message",
};
pub(crate) const ACK_MANY: Peer = Peer {
    tag: "ack 100",
    name: "a loop on lapin that acknowledges 100 messages at once and does not wait for it",
};
pub(crate) const CONFIRM_EACH: Peer =
    Peer { tag: "in turn", name: "a loop on lapin that awaits the confirm of each message" };
pub(crate) const CONFIRM_LATER: Peer = Peer {
    tag: "pipelined",
    name: "a loop on lapin with 1,000 publishes under way, each waiting for its confirm",
};
pub(crate) const RUSTSTREAM_HANDLER: Peer =
    Peer { tag: "ruststream", name: "a handler of ruststream-lapin with 64 workers" };
pub(crate) const RUSTSTREAM_PUBLISHER: Peer = Peer {
    tag: "ruststream",
    name: "ruststream-lapin's publisher with confirms, 1,000 publishes under way, and no \
           `mandatory`: what reaches no queue is confirmed and thrown away",
};
pub(crate) const SERIAL: Peer =
    Peer { tag: "serial", name: "a task for each partition, one message after the other" };
pub(crate) const UNKEYED: Peer = Peer { tag: "no keys", name: "ours, in no order" };
/// Not run here; its figures were taken on a machine of the same kind.
pub(crate) const GO: Peer = Peer { tag: "Go, quoted", name: "Go 1.27, quoted" };
