//! A broker that answers as it is told, and says what it was sent.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Outgoing, PublishOutcome, Receipt, ReceiptSender, Sink,
    Source, Subscription,
};
use downhaul_context::Context;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::PATIENCE;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Yes,
    /// Yes, after a while.
    Later(Duration),
    Nack,
    Return,
    Refuse,
    /// The link is lost before the answer.
    Nothing,
    /// Neither an answer nor an end of the link.
    Hang,
}

/// A message that was sent, and when.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) at: Instant,
}

type Script = dyn Fn(&str, usize) -> Say + Send + Sync;

#[derive(Clone)]
pub(super) struct Puppet {
    script: Arc<Script>,
    sent: watch::Sender<Vec<Sent>>,
    hanging: Arc<Mutex<Vec<ReceiptSender>>>,
}

impl Puppet {
    /// `script` gets an id and how often it was sent before.
    pub(super) fn new(script: impl Fn(&str, usize) -> Say + Send + Sync + 'static) -> Arc<Self> {
        let (script, sent) = (Arc::new(script), watch::Sender::default());
        Arc::new(Self { script, sent, hanging: Arc::default() })
    }

    /// All that was sent, once there is as much of it.
    pub(super) async fn sent(&self, count: usize) -> Vec<Sent> {
        let mut sent = self.sent.subscribe();
        let enough = timeout(PATIENCE, sent.wait_for(|sent| sent.len() >= count)).await;
        enough.unwrap_or_else(|_| panic!("only {:?}", self.ids())).unwrap().clone()
    }

    /// All ids that were sent so far.
    pub(super) fn ids(&self) -> Vec<String> {
        self.sent.borrow().iter().map(|sent| sent.id.clone()).collect()
    }
}

#[async_trait]
impl Broker for Puppet {
    fn system(&self) -> &'static str {
        "puppet"
    }

    async fn source(
        &self,
        _ctx: &Context,
        _subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Err(BrokerError::new(BrokerErrorKind::Configuration, "nothing is to be had here"))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Ok(Arc::new(self.clone()))
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Sink for Puppet {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let id = outgoing.message.id().to_owned();
        let before = self.sent.borrow().iter().filter(|sent| sent.id == id).count();
        let say = (self.script)(&id, before);
        self.sent.send_modify(|sent| sent.push(Sent { id, at: Instant::now() }));
        let outcome = match say {
            Say::Yes => PublishOutcome::Confirmed,
            Say::Nack => PublishOutcome::Nacked,
            Say::Return => PublishOutcome::Returned("nobody is bound".to_owned()),
            Say::Nothing => return Ok(Receipt::pending().1),
            Say::Refuse => {
                return Err(BrokerError::new(BrokerErrorKind::Message, "it is too large"));
            }
            Say::Later(after) => {
                let (sender, receipt) = Receipt::pending();
                tokio::spawn(async move {
                    sleep(after).await;
                    sender.resolve(PublishOutcome::Confirmed);
                });
                return Ok(receipt);
            }
            Say::Hang => {
                let (sender, receipt) = Receipt::pending();
                self.hanging.lock().unwrap().push(sender);
                return Ok(receipt);
            }
        };
        Ok(Receipt::resolved(outcome))
    }

    async fn close(&self, _ctx: &Context) {}
}

impl fmt::Debug for Puppet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puppet").finish_non_exhaustive()
    }
}
