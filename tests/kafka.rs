//! A broker of Kafka's protocol for a service.

use std::sync::OnceLock;

use downhaul_testkit::kafka::{Broker, shared, shared_kind};
use tokio::sync::{Mutex, MutexGuard};

/// A cluster for one service at a time: the topics of the example have fixed names.
pub(crate) struct Cluster {
    address: String,
    /// A broker of the test's own, or the word that nobody else uses the one that was given.
    _own: Result<Broker, MutexGuard<'static, ()>>,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        if shared_kind().is_some() {
            let broker = tokio::task::block_in_place(Broker::start).unwrap();
            return Self { address: broker.bootstrap(), _own: Ok(broker) };
        }
        static ALONE: OnceLock<Mutex<()>> = OnceLock::new();
        let alone = ALONE.get_or_init(Mutex::default).lock().await;
        Self { address: shared(), _own: Err(alone) }
    }

    /// The address for `--broker`. A session is as short as Kafka takes it.
    pub(crate) fn url(&self) -> String {
        format!("kafka://{}?session.timeout.ms=6000", self.address)
    }
}
