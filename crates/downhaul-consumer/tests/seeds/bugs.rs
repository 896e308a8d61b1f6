//! Bugs to plant: what an engine could do wrong, done by what stands between it and its broker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::inbox::{Claim, Commit, Inbox, MemoryInbox, Ticket};
use downhaul_consumer::{
    Broker, BrokerError, Capabilities, Event, Message, Name, Outgoing, PublishOutcome, Receipt,
    Settled, Sink, Source, StoreError, Subscription, Token, Verdict, headers,
};
use downhaul_context::Context;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// None: as a broker that only looks on.
    None,
    /// Deliveries are acknowledged before they are handled.
    AckFirst,
    /// With a message all below it are acknowledged.
    AckAllBelow,
    /// Verdicts of a lost link are settled on the next one, by the same number.
    SettleOnNewLink,
    /// A message that is released has used up an attempt.
    CountReleases,
    /// A release is an acknowledgement.
    ForgetReleases,
    /// Every tenth delivery is forgotten, and never settled.
    ForgetDeliveries,
    /// A source says nothing when its link is lost.
    SilentSource,
    /// A publish counts as confirmed before the broker has answered.
    ConfirmFirst,
    /// Dead letters do not say why.
    NamelessLetters,
    /// Every tenth delivery is made twice.
    DeliverTwice,
    /// What has arrived is handed on backwards.
    LastFirst,
}

/// A broker with a bug.
#[derive(Clone)]
pub(crate) struct Buggy {
    inner: Arc<dyn Broker>,
    bug: Bug,
    /// What was to be acknowledged on a link that is lost.
    late: Arc<Mutex<Vec<Token>>>,
}

impl Buggy {
    pub(crate) fn with(bug: Bug) -> impl Fn(Arc<dyn Broker>) -> Self {
        move |inner| Self { inner, bug, late: Arc::default() }
    }
}

impl fmt::Debug for Buggy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.bug)
    }
}

#[async_trait]
impl Broker for Buggy {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let inner = self.inner.source(ctx, subscription).await?;
        let sink = self.inner.sink(ctx).await?;
        let (bug, queue) = (self.clone(), Name::from(subscription.queue()));
        let unsettled = BTreeMap::new();
        Ok(Box::new(BuggySource { inner, bug, sink, queue, unsettled, passed: 0 }))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        let inner = self.inner.sink(ctx).await?;
        Ok(Arc::new(BuggySink { inner, bug: self.bug }))
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}

struct BuggySource {
    inner: Box<dyn Source>,
    bug: Buggy,
    sink: Arc<dyn Sink>,
    queue: Name,
    unsettled: BTreeMap<Token, Message>,
    passed: u64,
}

/// Tokens of deliveries that the inner source has not made.
const FORGED: u64 = 1 << 40;

impl BuggySource {
    /// Does to deliveries what is wrong. What is returned is to be acknowledged at once.
    fn spoil(&mut self, events: &mut Vec<Event>, had: usize) -> Vec<(Token, Verdict)> {
        let mut now = Vec::new();
        let mut arrived: Vec<Event> = events.drain(had..).collect();
        if self.bug.bug == Bug::LastFirst {
            arrived.reverse();
        }
        for event in arrived {
            let Event::Delivery(delivery) = &event else {
                events.push(event);
                continue;
            };
            self.passed += 1;
            self.unsettled.insert(delivery.token, delivery.message.clone());
            let is_late = self.bug.late.lock().unwrap().contains(&delivery.token);
            if self.bug.bug == Bug::AckFirst || is_late {
                now.push((delivery.token, Verdict::Ack));
            }
            if self.bug.bug == Bug::ForgetDeliveries && self.passed.is_multiple_of(10) {
                continue;
            }
            let mut twice = delivery.clone();
            events.push(event);
            if self.bug.bug == Bug::DeliverTwice && self.passed.is_multiple_of(10) {
                twice.token = Token::new(FORGED + self.passed);
                events.push(Event::Delivery(twice));
            }
        }
        now
    }

    /// Does to a verdict what is wrong.
    async fn twist(&mut self, (token, verdict): (Token, Verdict)) -> Vec<(Token, Verdict)> {
        let message = self.unsettled.remove(&token);
        match (self.bug.bug, verdict) {
            _ if token.number() >= FORGED => Vec::new(),
            (Bug::AckFirst, _) => Vec::new(),
            (Bug::AckAllBelow, Verdict::Ack) => {
                let above = self.unsettled.split_off(&token);
                let below = std::mem::replace(&mut self.unsettled, above);
                let all = below.into_keys().chain([token]);
                all.map(|token| (token, Verdict::Ack)).collect()
            }
            (Bug::ForgetReleases, Verdict::Release) => vec![(token, Verdict::Ack)],
            (Bug::CountReleases, Verdict::Release) if let Some(message) = message => {
                vec![(token, self.count(message).await)]
            }
            _ => vec![(token, verdict)],
        }
    }

    /// Puts a message back with one attempt more.
    async fn count(&mut self, mut message: Message) -> Verdict {
        let attempt = message.headers().get(headers::ATTEMPT);
        let attempt: u32 = attempt.and_then(|text| text.parse().ok()).unwrap_or(1);
        message.headers_mut().set(headers::ATTEMPT, (attempt + 1).to_string());
        let outgoing = Outgoing::to_queue(self.queue.clone(), message);
        let Ok(receipt) = self.sink.send(&outgoing).await else { return Verdict::Release };
        match receipt.await {
            PublishOutcome::Confirmed => Verdict::Ack,
            _ => Verdict::Release,
        }
    }
}

#[async_trait]
impl Source for BuggySource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        loop {
            let told = self.inner.next(events).await;
            if told.is_err() && self.bug.bug == Bug::SilentSource {
                return std::future::pending().await;
            }
            told?;
            let now = self.spoil(events, had);
            if !now.is_empty() {
                self.inner.settle(&now).await?;
            }
            if events.len() > had {
                return Ok(());
            }
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let mut all = Vec::new();
        for one in batch {
            all.extend(self.twist(*one).await);
        }
        let settled = self.inner.settle(&all).await;
        if settled.is_err() && self.bug.bug == Bug::SettleOnNewLink {
            let acked = all.iter().filter(|(_, verdict)| *verdict == Verdict::Ack);
            self.bug.late.lock().unwrap().extend(acked.map(|(token, _)| *token));
        }
        // Whoever has a bug does not know of it.
        settled.map(|_| Settled::confirmed())
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.inner.set_prefetch(prefetch).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        self.inner.close(ctx).await
    }
}

#[derive(Debug)]
struct BuggySink {
    inner: Arc<dyn Sink>,
    bug: Bug,
}

#[async_trait]
impl Sink for BuggySink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let mut outgoing = outgoing.clone();
        if self.bug == Bug::NamelessLetters {
            outgoing.message.headers_mut().remove(headers::DEAD_REASON);
        }
        let receipt = self.inner.send(&outgoing).await?;
        if self.bug == Bug::ConfirmFirst {
            return Ok(Receipt::resolved(PublishOutcome::Confirmed));
        }
        Ok(receipt)
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}

/// An inbox that marks an id when it is claimed: before the handler has succeeded.
#[derive(Debug, Default)]
pub(crate) struct MarksFirst(MemoryInbox);

#[async_trait]
impl Inbox for MarksFirst {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        let claim = self.0.claim(scope, id, lease).await?;
        if let Claim::Fresh(ticket) = &claim {
            let _ = self.0.commit(ticket).await?;
        }
        Ok(claim)
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        self.0.commit(ticket).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        self.0.release(ticket).await
    }
}

/// An inbox that takes a claim for none: it never remembers.
#[derive(Debug, Default)]
pub(crate) struct Forgets(MemoryInbox);

#[async_trait]
impl Inbox for Forgets {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.0.claim(scope, id, lease).await
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        self.0.release(ticket).await?;
        Ok(Commit::Kept)
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        self.0.release(ticket).await
    }
}
