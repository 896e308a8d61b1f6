//! The memory broker passes the suite that every broker passes.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{Broker, MemoryBroker};
use downhaul_testkit::suite::{Capabilities, Harness};

struct Memory(MemoryBroker);

#[async_trait]
impl Harness for Memory {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn cut(&self) {
        self.0.cut();
    }
}

downhaul_testkit::conformance!(Memory(MemoryBroker::new()));
