//! A broker of one's own, small enough to read at once: queues in memory, without delays.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Capabilities, Delivery, Destination, Event, Message,
    Outgoing, PublishOutcome, Receipt, Settled, Sink, Source, Subscription, Token, Verdict,
};
use downhaul_context::Context;
use tokio::sync::watch;

// ANCHOR: broker
/// Piles of messages, by the names of queues. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Piles(Arc<Shared>);

#[async_trait]
impl Broker for Piles {
    fn system(&self) -> &'static str {
        "piles"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_order()
    }

    async fn source(
        &self,
        _ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        // The queues are there when this returns, and the first is bound to its topics.
        let mut piles = self.0.lock();
        if subscription.has_dead_letters() {
            piles.queues.entry(subscription.dead_letter_queue()).or_default();
        }
        piles.queues.entry(subscription.queue().to_owned()).or_default();
        for topic in subscription.topics() {
            let bound = piles.bindings.entry(topic.to_owned()).or_default();
            if !bound.iter().any(|queue| queue == subscription.queue()) {
                bound.push(subscription.queue().to_owned());
            }
        }
        Ok(Box::new(PileSource {
            piles: self.clone(),
            queue: subscription.queue().to_owned(),
            prefetch: usize::from(subscription.prefetch()),
            news: self.0.news.subscribe(),
            unsettled: BTreeMap::new(),
            delivered: 0,
        }))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Ok(Arc::new(self.clone()))
    }

    async fn close(&self, _ctx: &Context) {}
}
// ANCHOR_END: broker

#[derive(Default)]
struct Shared {
    piles: Mutex<Content>,
    /// Changed with every message that comes or comes back.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Content {
    queues: HashMap<String, VecDeque<Stored>>,
    bindings: HashMap<String, Vec<String>>,
}

#[derive(Clone)]
struct Stored {
    message: Message,
    topic: Option<downhaul_consumer::Name>,
    redeliveries: u32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.piles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

// ANCHOR: sink
#[async_trait]
impl Sink for Piles {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        if !outgoing.delay.is_zero() {
            let words = "piles hold nothing back; leave the delay out";
            return Err(BrokerError::new(BrokerErrorKind::Message, words));
        }
        let mut piles = self.0.lock();
        let (queues, topic) = match &outgoing.destination {
            Destination::Queue(queue) => (vec![queue.to_string()], None),
            Destination::Topic(topic) => {
                let bound = piles.bindings.get(topic.as_str());
                (bound.cloned().unwrap_or_default(), Some(topic.clone()))
            }
        };
        let (message, redeliveries) = (outgoing.message.clone(), 0);
        let stored = Stored { message, topic, redeliveries };
        let mut is_taken = false;
        for queue in queues {
            if let Some(pile) = piles.queues.get_mut(&queue) {
                pile.push_back(stored.clone());
                is_taken = true;
            }
        }
        drop(piles);
        self.0.news.send_replace(());
        // Known at once. A broker that answers later returns `Receipt::pending` and resolves it.
        Ok(Receipt::resolved(match is_taken {
            true => PublishOutcome::Confirmed,
            false => PublishOutcome::Returned("no pile takes it".to_owned()),
        }))
    }

    async fn close(&self, _ctx: &Context) {}
}
// ANCHOR_END: sink

// ANCHOR: source
struct PileSource {
    piles: Piles,
    queue: String,
    prefetch: usize,
    news: watch::Receiver<()>,
    unsettled: BTreeMap<Token, Stored>,
    delivered: u64,
}

#[async_trait]
impl Source for PileSource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        loop {
            // Seen before looking, so that what comes in between is news.
            self.news.borrow_and_update();
            if self.take(events) {
                return Ok(());
            }
            // Only this waits, and it loses nothing when it is dropped.
            self.news.changed().await.map_err(|_| gone())?;
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let (mut lost, mut released) = (Vec::new(), BTreeMap::new());
        for (token, verdict) in batch {
            match (self.unsettled.remove(token), verdict) {
                (None, _) => lost.push(*token),
                (Some(_), Verdict::Ack) => {}
                (Some(stored), Verdict::Release) => drop(released.insert(*token, stored)),
            }
        }
        self.put_back(released);
        Ok(Settled::confirmed().with_lost(lost))
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.prefetch = usize::from(prefetch);
        Ok(())
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        Ok(())
    }
}

impl PileSource {
    /// Moves what is there into `events`, up to the prefetch.
    fn take(&mut self, events: &mut Vec<Event>) -> bool {
        let before = events.len();
        let shared = Arc::clone(&self.piles.0);
        let mut piles = shared.lock();
        let Some(pile) = piles.queues.get_mut(&self.queue) else { return false };
        while self.unsettled.len() < self.prefetch
            && let Some(stored) = pile.pop_front()
        {
            let token = Token::new(self.delivered);
            self.delivered += 1;
            let delivery = Delivery::new(token, stored.message.clone())
                .with_topic(stored.topic.clone())
                .redelivered(stored.redeliveries);
            self.unsettled.insert(token, stored);
            events.push(Event::Delivery(delivery));
        }
        events.len() > before
    }

    /// To the front, in the old order.
    fn put_back(&self, stored: BTreeMap<Token, Stored>) {
        let mut piles = self.piles.0.lock();
        if let Some(pile) = piles.queues.get_mut(&self.queue) {
            for mut stored in stored.into_values().rev() {
                stored.redeliveries += 1;
                pile.push_front(stored);
            }
        }
        drop(piles);
        self.piles.0.news.send_replace(());
    }
}

/// What is unsettled when a source goes comes again.
impl Drop for PileSource {
    fn drop(&mut self) {
        let unsettled = std::mem::take(&mut self.unsettled);
        self.put_back(unsettled);
    }
}

fn gone() -> BrokerError {
    BrokerError::new(BrokerErrorKind::Closed, "the piles are gone")
}
// ANCHOR_END: source

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, reason = "the suite uses the rest alone")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use downhaul_consumer::{Consumer, Incoming, Publisher};

    async fn handle(_ctx: Context, message: Incoming<Message>) {
        println!("{}", message.id());
    }

    let (ctx, piles) = (Context::background(), Arc::new(Piles::default()));
    let subscription = Subscription::new("inventory").topic("order.created");
    let inventory = Consumer::new(subscription, handle).spawn(&ctx, piles.clone());
    inventory.settled().await;
    let order = Outgoing::to_topic("order.created", Message::new("7"));
    Publisher::new(piles).publish(&ctx, order).await?;
    while inventory.tally().acked < 1 {
        tokio::task::yield_now().await;
    }
    inventory.drain();
    inventory.settled().await;
    Ok(())
}
