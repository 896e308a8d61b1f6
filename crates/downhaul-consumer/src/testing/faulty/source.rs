//! [`FaultySource`]: deliveries and verdicts that meet with accidents.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_context::Context;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::held::Held;
use super::lost;
use crate::broker::{Delivery, Event, HeldLanes, Settled, Source, Token, Verdict};
use crate::error::BrokerError;
use crate::later::later;
use crate::message::{Key, Name};
use crate::testing::faults::Faults;
use crate::testing::incident::Fault;

/// How long a delivery waits to be overtaken.
const OVERTAKEN_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct FaultySource {
    /// `None` once the link is lost.
    inner: Option<Box<dyn Source>>,
    faults: Faults,
    losses: watch::Receiver<u64>,
    queue: Name,
    /// What the inner source has told and was not looked at.
    arrived: Vec<Event>,
    held: Held,
    /// The next token. They count up in the order in which deliveries pass.
    next: u64,
    unsettled: BTreeMap<Token, Unsettled>,
    /// The link is lost as soon as anyone looks.
    doomed: bool,
}

struct Unsettled {
    /// The token of the inner source; `None` for the second of two deliveries.
    inner: Option<Token>,
    id: String,
    key: Option<Key>,
}

impl FaultySource {
    pub(super) fn new(
        inner: Box<dyn Source>,
        faults: Faults,
        losses: watch::Receiver<u64>,
        queue: Name,
    ) -> Self {
        Self {
            inner: Some(inner),
            faults,
            losses,
            queue,
            arrived: Vec::new(),
            held: Held::default(),
            next: 0,
            unsettled: BTreeMap::new(),
            doomed: false,
        }
    }

    /// The inner source, if the link stands.
    fn alive(&mut self) -> Result<&mut Box<dyn Source>, BrokerError> {
        if self.doomed || self.losses.has_changed().unwrap_or(false) {
            self.die(Fault::LinkLost, None);
        }
        self.inner.as_mut().ok_or_else(|| lost("the link was told to be lost"))
    }

    /// Loses the link. What is unsettled comes again.
    fn die(&mut self, fault: Fault, messages: Option<Vec<String>>) {
        let Some(inner) = self.inner.take() else { return };
        let messages = messages.unwrap_or_else(|| self.unsettled_ids());
        self.faults.note(fault, Some(&self.queue), messages);
        drop(inner);
    }

    /// What the broker has given out and does not know the end of.
    fn unsettled_ids(&self) -> Vec<String> {
        let passed = self.unsettled.values().filter(|one| one.inner.is_some());
        let passed = passed.map(|one| one.id.as_str());
        passed.chain(self.held.ids()).map(str::to_owned).collect()
    }

    /// Passes on what has arrived and what was held back, as far as nothing happens to it.
    fn pass(&mut self, events: &mut Vec<Event>) {
        for delivery in self.held.due(Instant::now()) {
            self.deliver(delivery, events);
        }
        for event in std::mem::take(&mut self.arrived) {
            // What arrived behind the loss of the link did not arrive.
            if self.doomed {
                return;
            }
            match event {
                Event::Delivery(delivery) => self.admit(delivery, events),
                Event::Revoking(revoking) => {
                    for delivery in self.held.of_lanes(revoking.lanes()) {
                        self.deliver(delivery, events);
                    }
                    events.push(Event::Revoking(revoking));
                }
                Event::Lost(lanes) => {
                    drop(self.held.of_lanes(&lanes));
                    events.push(Event::Lost(lanes));
                }
                event => events.push(event),
            }
        }
        for delivery in self.held.due(Instant::now()) {
            self.deliver(delivery, events);
        }
    }

    /// Does to a delivery what is to happen to it.
    fn admit(&mut self, delivery: Delivery, events: &mut Vec<Event>) {
        let Some(delivery) = self.held.behind_its_key(delivery) else { return };
        let fault = self.faults.next(Fault::OF_DELIVERIES);
        let note = |fault| {
            let ids = vec![delivery.message.id().to_owned()];
            self.faults.note(fault, Some(&self.queue), ids);
        };
        let now = Instant::now();
        match fault {
            None => self.deliver(delivery, events),
            Some((Fault::Duplicated, _)) => {
                note(Fault::Duplicated);
                self.deliver(delivery.clone(), events);
                self.hand_over(None, delivery, events);
            }
            Some((Fault::Delayed, takes)) => {
                note(Fault::Delayed);
                self.held.hold(delivery, later(now, takes), false);
            }
            Some((Fault::Reordered, _)) => {
                note(Fault::Reordered);
                self.held.hold(delivery, now + OVERTAKEN_WITHIN, true);
            }
            Some(_) => {
                self.deliver(delivery, events);
                self.doomed = true;
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery, events: &mut Vec<Event>) {
        if self.doomed {
            return;
        }
        self.held.overtake(Instant::now());
        self.hand_over(Some(delivery.token), delivery, events);
        self.doomed |= self.faults.is_last_delivery();
    }

    fn hand_over(&mut self, inner: Option<Token>, mut delivery: Delivery, events: &mut Vec<Event>) {
        let id = delivery.message.id().to_owned();
        let key = delivery.message.own_key().cloned();
        delivery.token = Token::new(self.next);
        self.next += 1;
        self.unsettled.insert(delivery.token, Unsettled { inner, id, key });
        events.push(Event::Delivery(delivery));
    }

    fn ids(&self, batch: &[(Token, Verdict)]) -> Vec<String> {
        let known = batch.iter().filter_map(|(token, _)| self.unsettled.get(token));
        known.map(|one| one.id.clone()).collect()
    }

    /// Settles at the inner source, each by the token that it knows.
    async fn settle_inner(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let mut lost = Vec::new();
        let (mut inner, mut outer) = (Vec::new(), BTreeMap::new());
        for &(token, verdict) in batch {
            match self.unsettled.remove(&token) {
                Some(Unsettled { inner: Some(known), key, .. }) => {
                    inner.push((known, verdict));
                    outer.insert(known, token);
                    // What is held back must not come before it: it goes back as well.
                    let key = key.filter(|_| verdict == Verdict::Release);
                    let behind = key.map(|key| self.held.of_key(&key)).unwrap_or_default();
                    inner.extend(behind.iter().map(|one| (one.token, Verdict::Release)));
                }
                Some(_) => {}
                None => lost.push(token),
            }
        }
        let mut settled = self.alive()?.settle(&inner).await?;
        let mapped = settled.lost.iter().filter_map(|token| outer.get(token));
        lost.extend(mapped);
        settled.lost = lost;
        Ok(settled)
    }

    /// Settles and, if the inner source is dead, says so.
    async fn settle_or_die(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        self.alive()?;
        let ids = self.ids(batch);
        let settled = self.settle_inner(batch).await;
        if settled.is_err() {
            let ids = ids.into_iter().chain(self.unsettled_ids()).collect();
            self.die(Fault::LinkLost, Some(ids));
        }
        settled
    }
}

#[async_trait]
impl Source for FaultySource {
    fn held_lanes(&self) -> HeldLanes {
        self.inner.as_ref().map(|inner| inner.held_lanes()).unwrap_or_default()
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        loop {
            self.alive()?;
            self.pass(events);
            if events.len() > had {
                return Ok(());
            }
            let due = self.held.next_due();
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            let mut losses = self.losses.clone();
            let Some(inner) = &mut self.inner else { continue };
            let arrived = tokio::select! {
                biased;
                // Looked at when the loop comes round.
                _ = losses.changed() => Ok(()),
                arrived = inner.next(&mut self.arrived) => arrived,
                () = due => Ok(()),
            };
            if arrived.is_err() {
                self.die(Fault::LinkLost, None);
                return arrived;
            }
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        self.alive()?;
        let fault = self.faults.next(Fault::OF_SETTLEMENTS);
        let takes = match fault {
            Some((Fault::SettlementSlow, takes)) => takes,
            _ => self.faults.settlement_takes(),
        };
        if !takes.is_zero() {
            self.faults.note(Fault::SettlementSlow, Some(&self.queue), self.ids(batch));
            sleep(takes).await;
        }
        if let Some(most) = self.faults.last_verdicts(batch.len()) {
            let settled = self.settle_or_die(&batch[..most.min(batch.len())]).await?;
            self.doomed = true;
            self.alive()?;
            return Ok(settled);
        }
        match fault {
            Some((Fault::SettlementLost, _)) => {
                self.die(Fault::SettlementLost, None);
                Err(lost("the verdicts were told to be lost"))
            }
            Some((Fault::SettlementUnanswered, _)) => {
                self.settle_or_die(batch).await?;
                self.die(Fault::SettlementUnanswered, None);
                Err(lost("the answer to the verdicts was told to be lost"))
            }
            _ => self.settle_or_die(batch).await,
        }
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        let set = self.alive()?.set_prefetch(prefetch).await;
        if set.is_err() {
            self.die(Fault::LinkLost, None);
        }
        set
    }

    async fn close(mut self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        self.alive()?;
        match self.inner.take() {
            Some(inner) => inner.close(ctx).await,
            None => Ok(()),
        }
    }
}
