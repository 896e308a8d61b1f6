//! One node for all tests of a process.

use std::sync::OnceLock;

use super::NodeError;
use super::node::Node;
use crate::ledger;

/// The URL of a node that all tests of this process share: `DOWNHAUL_AMQP_URL` if that is set, else
/// a private node that the first caller starts. Tests keep apart by
/// [`unique`](crate::unique) names.
///
/// # Panics
///
/// If no node can be had. A test that needs a broker fails without one; it is never skipped.
#[track_caller]
pub fn shared() -> String {
    if let Ok(url) = std::env::var("DOWNHAUL_AMQP_URL") {
        record_use();
        return url;
    }
    record_use();
    node().url()
}

/// Runs `rabbitmqctl` against the node of [`shared`]. `None` where that was given by its URL: then
/// it is somebody else's.
///
/// # Errors
///
/// What `rabbitmqctl` says.
///
/// # Panics
///
/// As [`shared`].
#[track_caller]
pub fn shared_ctl(arguments: &[&str]) -> Option<Result<String, NodeError>> {
    std::env::var_os("DOWNHAUL_AMQP_URL").is_none().then(|| node().ctl(arguments))
}

#[track_caller]
fn node() -> &'static Node {
    // Never dropped, as statics are: its watchdog ends it with the process.
    static NODE: OnceLock<Result<Node, String>> = OnceLock::new();
    match NODE.get_or_init(|| Node::start().map_err(|error| error.to_string())) {
        Ok(node) => node,
        Err(error) => panic!("this test needs RabbitMQ: {error}"),
    }
}

/// Tells `cargo xtask test` that the running test met a broker.
pub(super) fn record_use() {
    ledger::record("DOWNHAUL_RABBITMQ_LEDGER");
}
