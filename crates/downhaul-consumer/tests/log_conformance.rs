//! The memory log passes the suite that every broker passes.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::testing::FaultyBroker;
use downhaul_consumer::{Broker, MemoryLog};
use downhaul_testkit::suite::{Capabilities, Harness};

struct Log {
    log: MemoryLog,
    broker: Arc<dyn Broker>,
    capabilities: Capabilities,
}

impl Log {
    fn over(log: MemoryLog) -> Self {
        let mut capabilities = Capabilities::ALL;
        capabilities.largest = false;
        Self { broker: Arc::new(log.clone()), log, capabilities }
    }

    /// Where a message can be too large.
    fn limited(log: MemoryLog) -> Self {
        let broker = FaultyBroker::over(Arc::new(log.clone()));
        broker.faults().refuse_larger_than(100_000);
        Self { log, broker: Arc::new(broker), capabilities: Capabilities::ALL }
    }
}

#[async_trait]
impl Harness for Log {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.broker)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn cut(&self) {
        self.log.cut();
    }
}

mod four_partitions {
    use super::*;

    downhaul_testkit::conformance!(Log::over(MemoryLog::new(4)));
}

/// With a lane for what is its own and one for its topic, everything waits for the head sometimes.
mod one_partition {
    use super::*;

    downhaul_testkit::conformance!(Log::limited(MemoryLog::new(1)));
}
