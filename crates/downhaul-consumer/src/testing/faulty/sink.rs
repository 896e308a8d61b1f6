//! [`FaultySink`]: publishes that meet with accidents.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use downhaul_context::Context;
use tokio::sync::watch;
use tokio::time::sleep;

use super::lost;
use crate::broker::Sink;
use crate::error::{BrokerError, BrokerErrorKind};
use crate::message::Name;
use crate::publish::{Destination, Outgoing, PublishOutcome, Receipt};
use crate::testing::faults::Faults;
use crate::testing::incident::Fault;

pub(super) struct FaultySink {
    inner: Arc<dyn Sink>,
    faults: Faults,
    losses: watch::Receiver<u64>,
    dead: AtomicBool,
}

impl FaultySink {
    pub(super) fn new(inner: Arc<dyn Sink>, faults: Faults, losses: watch::Receiver<u64>) -> Self {
        Self { inner, faults, losses, dead: AtomicBool::new(false) }
    }

    fn alive(&self) -> Result<(), BrokerError> {
        if self.dead.load(Ordering::Acquire) || self.losses.has_changed().unwrap_or(false) {
            return Err(lost("the link was told to be lost"));
        }
        Ok(())
    }

    /// An answer that never comes, since the link is lost.
    fn unanswered(&self) -> Receipt {
        self.dead.store(true, Ordering::Release);
        Receipt::pending().1
    }

    fn note(&self, fault: Fault, outgoing: &Outgoing) {
        let place = match &outgoing.destination {
            Destination::Topic(name) | Destination::Queue(name) => Name::clone(name),
        };
        self.faults.note(fault, Some(&place), vec![outgoing.message.id().to_owned()]);
    }
}

#[async_trait]
impl Sink for FaultySink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        self.alive()?;
        let size = outgoing.message.size();
        if self.faults.is_too_large(size) {
            let words = format!("a message of {size} bytes was told to be too large");
            return Err(BrokerError::new(BrokerErrorKind::Message, words));
        }
        let fault = self.faults.next(Fault::OF_SENDS);
        let takes = match fault {
            Some((Fault::SendSlow, takes)) => takes,
            _ => self.faults.send_takes(),
        };
        if !takes.is_zero() {
            self.note(Fault::SendSlow, outgoing);
            sleep(takes).await;
            self.alive()?;
        }
        match fault {
            Some((fault @ Fault::PublishNacked, _)) => {
                self.note(fault, outgoing);
                Ok(Receipt::resolved(PublishOutcome::Nacked))
            }
            Some((fault @ Fault::PublishLost, _)) => {
                self.note(fault, outgoing);
                Ok(self.unanswered())
            }
            Some((fault @ Fault::AnswerLost, _)) => {
                self.note(fault, outgoing);
                let _there = self.inner.send(outgoing).await?;
                Ok(self.unanswered())
            }
            _ => self.inner.send(outgoing).await,
        }
    }

    fn hindrance(&self) -> Option<BrokerError> {
        self.inner.hindrance()
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}

impl fmt::Debug for FaultySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultySink").field("inner", &self.inner).finish_non_exhaustive()
    }
}
