//! The memory broker passes the suite that every broker passes.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::testing::FaultyBroker;
use downhaul_consumer::{Broker, MemoryBroker};
use downhaul_testkit::suite::{Capabilities, Harness};

struct Memory {
    memory: MemoryBroker,
    broker: Arc<dyn Broker>,
    capabilities: Capabilities,
}

impl Memory {
    fn over(memory: MemoryBroker) -> Self {
        let mut capabilities = Capabilities::ALL;
        capabilities.largest = false;
        Self { broker: Arc::new(memory.clone()), memory, capabilities }
    }

    /// Where a message can be too large.
    fn limited(memory: MemoryBroker) -> Self {
        let broker = FaultyBroker::over(Arc::new(memory.clone()));
        broker.faults().refuse_larger_than(100_000);
        Self { memory, broker: Arc::new(broker), capabilities: Capabilities::ALL }
    }
}

#[async_trait]
impl Harness for Memory {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.broker)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn cut(&self) {
        self.memory.cut();
    }
}

mod unlimited {
    use super::*;

    downhaul_testkit::conformance!(Memory::over(MemoryBroker::new()));
}

mod limited {
    use super::*;

    downhaul_testkit::conformance!(Memory::limited(MemoryBroker::new()));
}
