//! Publishing to the log: the answer is known at once.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;

use crate::broker::Sink;
use crate::error::BrokerError;
use crate::memory_log::state::{Epoch, Shared};
use crate::publish::{Outgoing, Receipt};

pub(super) struct LogSink {
    shared: Arc<Shared>,
    epoch: Epoch,
}

impl LogSink {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, BrokerError> {
        let epoch = shared.lock().open()?;
        Ok(Self { shared, epoch })
    }
}

#[async_trait]
impl Sink for LogSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let mut state = self.shared.lock();
        state.check(self.epoch)?;
        Ok(Receipt::resolved(state.send(outgoing)))
    }

    async fn close(&self, _ctx: &Context) {}
}

impl fmt::Debug for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSink").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
