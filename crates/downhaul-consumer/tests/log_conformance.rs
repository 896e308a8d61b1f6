//! The memory log passes the suite that every broker passes.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{Broker, MemoryLog};
use downhaul_testkit::suite::{Capabilities, Harness};

struct Log(MemoryLog);

#[async_trait]
impl Harness for Log {
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

mod four_partitions {
    use super::*;

    downhaul_testkit::conformance!(Log(MemoryLog::new(4)));
}

/// With a lane for what is its own and one for its topic, everything waits for the head sometimes.
mod one_partition {
    use super::*;

    downhaul_testkit::conformance!(Log(MemoryLog::new(1)));
}
