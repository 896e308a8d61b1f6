//! A broker that does what a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Outgoing, PublishOutcome, Receipt, Sink, Source,
    Subscription,
};
use downhaul_context::Context;

/// What becomes of one send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Send {
    Confirmed,
    Nacked,
    /// The link is lost before the answer.
    Unanswered,
    /// The same, and the link is back at once.
    Lost,
    /// The sink is dead.
    Dead,
    /// The broker would not take it, however often it was asked.
    Refused,
    /// There is never room for it.
    Stuck,
}

/// A broker whose sinks answer by a script, and whose sources cannot be opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) sends: Arc<Mutex<VecDeque<Send>>>,
    pub(crate) ids: Arc<Mutex<Vec<String>>>,
    pub(crate) opened: Arc<Mutex<u32>>,
}

impl Scripted {
    pub(crate) fn new(sends: impl IntoIterator<Item = Send>) -> Arc<Self> {
        let sends = Arc::new(Mutex::new(sends.into_iter().collect()));
        Arc::new(Self { sends, ..Self::default() })
    }
}

#[async_trait]
impl Broker for Scripted {
    fn system(&self) -> &'static str {
        "scripted"
    }

    async fn source(
        &self,
        _ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let words = format!("queue `{}` exists with other properties", subscription.queue());
        Err(BrokerError::new(BrokerErrorKind::Configuration, words))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        *self.opened.lock().unwrap() += 1;
        Ok(Arc::new(self.clone()))
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Sink for Scripted {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let send = self.sends.lock().unwrap().pop_front().expect("no further send in the script");
        self.ids.lock().unwrap().push(outgoing.message.id().to_owned());
        match send {
            Send::Confirmed => Ok(Receipt::resolved(PublishOutcome::Confirmed)),
            Send::Nacked => Ok(Receipt::resolved(PublishOutcome::Nacked)),
            Send::Unanswered => Ok(Receipt::pending().1),
            Send::Lost => {
                let error = BrokerError::new(BrokerErrorKind::Unreachable, "the link is lost");
                Ok(Receipt::resolved(PublishOutcome::Unknown(Arc::new(error))))
            }
            Send::Dead => Err(BrokerError::new(BrokerErrorKind::Unreachable, "the link is lost")),
            Send::Refused => {
                Err(BrokerError::new(BrokerErrorKind::Configuration, "no such exchange"))
            }
            Send::Stuck => std::future::pending().await,
        }
    }

    async fn close(&self, _ctx: &Context) {}
}
