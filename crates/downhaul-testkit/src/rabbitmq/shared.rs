//! One node for all tests of a process.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

use super::error::NodeError;
use super::node::Node;
use super::ports::random;

/// The URL of a node that all tests of this process share: `DOWNHAUL_AMQP_URL` if that is set, else
/// a private node that the first caller starts. Tests keep apart by [`unique`] names.
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

/// A name that no other test uses, for a queue or an exchange: `orders-7f3a…`.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random())
}

/// `cargo xtask test` says how many tests really met a broker: each leaves its name in this file.
/// The test harness names a test's thread after the test.
pub(super) fn record_use() {
    let Some(path) = std::env::var_os("DOWNHAUL_RABBITMQ_LEDGER") else { return };
    let program = std::env::args().next().unwrap_or_default();
    let thread = std::thread::current();
    let line = format!("{program} {}\n", thread.name().unwrap_or("?"));
    let file = File::options().create(true).append(true).open(path);
    // Bookkeeping: a test does not fail for it.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
