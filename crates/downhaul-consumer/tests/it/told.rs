//! A broker that gives its source what a test tells it to.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Delivery, Event, HeldLanes, Lane, MemoryBroker, Message,
    Settled, Sink, Source, Subscription, Token, Verdict,
};
use downhaul_context::Context;

/// A broker whose one source tells what a test says, and writes down what it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    events: Arc<Mutex<Vec<Event>>>,
    news: Arc<tokio::sync::Notify>,
    pub(crate) verdicts: Arc<Mutex<Vec<(u64, Verdict)>>>,
    /// Whether the link is found to be lost when the prefetch is next set.
    pub(crate) is_lost: Arc<AtomicBool>,
    /// Whether it does not answer when it is closed.
    pub(crate) is_deaf: Arc<AtomicBool>,
    /// How many sources were closed.
    pub(crate) closed: Arc<AtomicUsize>,
    /// The lanes that its source has.
    pub(crate) held: HeldLanes,
    /// Whether no source can be opened.
    pub(crate) is_shut: Arc<AtomicBool>,
}

impl Told {
    pub(crate) fn tell(&self, events: impl IntoIterator<Item = Event>) {
        self.events.lock().unwrap().extend(events);
        self.news.notify_one();
    }

    /// The numbers of what was given back.
    pub(crate) fn released(&self) -> Vec<u64> {
        let verdicts = self.verdicts.lock().unwrap();
        let released = verdicts.iter().filter(|one| one.1 == Verdict::Release);
        released.map(|one| one.0).collect()
    }
}

pub(crate) fn delivery(number: u64, key: &str, lane: u32) -> Event {
    let message = Message::new("").with_id(number.to_string()).with_key(key);
    Event::Delivery(Delivery::new(Token::new(number), message).in_lane(Lane::new(lane)))
}

#[async_trait]
impl Broker for Told {
    fn system(&self) -> &'static str {
        "told"
    }

    async fn source(
        &self,
        _ctx: &Context,
        _subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        match self.is_shut.load(Ordering::SeqCst) {
            true => Err(BrokerError::new(BrokerErrorKind::Unreachable, "nobody is there")),
            false => Ok(Box::new(self.clone())),
        }
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        MemoryBroker::new().sink(ctx).await
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Source for Told {
    fn held_lanes(&self) -> HeldLanes {
        self.held.clone()
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        while self.events.lock().unwrap().is_empty() {
            self.news.notified().await;
        }
        events.append(&mut self.events.lock().unwrap());
        Ok(())
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let told = batch.iter().map(|(token, verdict)| (token.number(), *verdict));
        self.verdicts.lock().unwrap().extend(told);
        Ok(Settled::confirmed())
    }

    async fn set_prefetch(&mut self, _prefetch: u16) -> Result<(), BrokerError> {
        match self.is_lost.swap(false, Ordering::SeqCst) {
            true => Err(BrokerError::new(BrokerErrorKind::Unreachable, "the link was lost")),
            false => Ok(()),
        }
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        if self.is_deaf.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        self.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
