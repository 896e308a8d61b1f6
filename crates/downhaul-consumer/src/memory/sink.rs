//! Publishing to memory: the answer is known at once.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;

use crate::broker::Sink;
use crate::error::BrokerError;
use crate::memory::state::{Epoch, Shared};
use crate::publish::{Outgoing, Receipt};

pub(super) struct MemorySink {
    shared: Arc<Shared>,
    epoch: Epoch,
}

impl MemorySink {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, BrokerError> {
        let epoch = shared.open()?;
        Ok(Self { shared, epoch })
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        self.shared.send(self.epoch, outgoing).map(Receipt::resolved)
    }

    fn try_send(&self, outgoing: &Outgoing) -> Option<Result<Receipt, BrokerError>> {
        Some(self.shared.send(self.epoch, outgoing).map(Receipt::resolved))
    }

    async fn close(&self, _ctx: &Context) {}
}

impl fmt::Debug for MemorySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySink").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
