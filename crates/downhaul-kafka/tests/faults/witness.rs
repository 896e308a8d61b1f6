//! Whether a group lets anybody in: a client of librdkafka alone tries, with nothing of ours.

use std::time::{Duration, Instant};

use downhaul_consumer::Subscription;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// As long as a run waits for progress.
const PATIENCE: Duration = downhaul_testkit::faults::PATIENCE;

/// Joins the group of a subscription and waits for a partition; then leaves it.
pub(crate) fn is_let_in(bootstrap: &str, subscription: &Subscription) -> bool {
    let mut config = ClientConfig::new();
    let config = config.set("bootstrap.servers", bootstrap).set("group.id", subscription.queue());
    let client: BaseConsumer =
        config.set("partition.assignment.strategy", "cooperative-sticky").create().unwrap();
    let topics: Vec<_> = subscription.topics().collect();
    client.subscribe(&topics).unwrap();
    #[expect(clippy::disallowed_methods, reason = "librdkafka goes by the system's clock, too")]
    let until = Instant::now() + PATIENCE;
    loop {
        drop(client.poll(Duration::from_millis(100)));
        if client.assignment().is_ok_and(|partitions| partitions.count() > 0) {
            return true;
        }
        #[expect(clippy::disallowed_methods, reason = "as above")]
        if Instant::now() > until {
            return false;
        }
    }
}
