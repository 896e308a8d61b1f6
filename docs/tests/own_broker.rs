//! The broker of the page "Write your own broker" passes the suite that every broker passes.

#[path = "../examples/own_broker.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "a program of the book")]
mod own_broker;

// ANCHOR: suite
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::Broker;
use downhaul_testkit::suite::{Capabilities, Harness};

use own_broker::Piles;

struct Fresh(Piles);

#[async_trait]
impl Harness for Fresh {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::ALL;
        // Its links cannot be cut, for it has none.
        capabilities.cut = false;
        // It takes messages of any size.
        capabilities.largest = false;
        capabilities
    }

    async fn cut(&self) {}
}

downhaul_testkit::conformance!(Fresh(Piles::default()));
// ANCHOR_END: suite
