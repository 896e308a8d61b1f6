//! [`Ear`]: a source that is overheard.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, Delivery, Event, HeldLanes, Lane, Settled, Source, Token, Verdict,
};
use downhaul_context::Context;
use tokio::time::Instant;

use crate::oracle::Oracle;
use crate::oracle::record::Cause;

/// Logs for a handler instance what its source says that is lost.
pub(super) struct Ear {
    oracle: Oracle,
    instance: String,
    late: Duration,
    /// Until it is dead or closed.
    source: Option<Box<dyn Source>>,
    /// Not passed on yet: a place of ours, so that none passes unheard where a call is dropped.
    heard: Vec<Event>,
    lanes: HashMap<Lane, Held>,
}

/// What was delivered of a lane, by its ids.
#[derive(Default)]
struct Held {
    open: HashMap<Token, String>,
    settled: VecDeque<(Instant, String)>,
}

impl Held {
    /// Settles a delivery if it is of this lane.
    fn settle(&mut self, token: Token, verdict: Verdict) {
        let Some(id) = self.open.remove(&token) else { return };
        // What is released comes again anyway, and its handler has said so.
        if verdict == Verdict::Ack {
            self.settled.push_back((Instant::now(), id));
        }
    }

    fn has_some(&self) -> bool {
        !self.open.is_empty() || !self.settled.is_empty()
    }

    fn forget_settled(&mut self, late: Duration) {
        while self.settled.pop_front_if(|(at, _)| at.elapsed() > late).is_some() {}
    }
}

impl Ear {
    pub(super) fn new(
        oracle: Oracle,
        instance: String,
        late: Duration,
        source: Box<dyn Source>,
    ) -> Self {
        let (source, heard, lanes) = (Some(source), Vec::new(), HashMap::new());
        Self { oracle, instance, late, source, heard, lanes }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Delivery(Delivery { token, lane, message, .. }) => {
                let open = &mut self.lanes.entry(*lane).or_default().open;
                open.insert(*token, message.id().to_owned());
            }
            Event::Lost(lanes) => {
                self.log_loss();
                let lost: Vec<_> =
                    lanes.iter().filter_map(|lane| self.lanes.remove(lane)).collect();
                lost.into_iter().for_each(|held| self.log_held(held));
            }
            _ => {}
        }
    }

    /// Passes on what came of a call.
    fn outlive<T>(&mut self, outcome: Result<T, BrokerError>) -> Result<T, BrokerError> {
        if outcome.is_err() {
            self.die();
        }
        outcome
    }

    fn die(&mut self) {
        self.source = None;
        let lost = std::mem::take(&mut self.lanes);
        if lost.values().any(Held::has_some) {
            self.log_loss();
        }
        lost.into_values().for_each(|held| self.log_held(held));
    }

    /// What was begun before may be still under way when it comes again.
    fn log_loss(&self) {
        let instance = self.instance.clone();
        self.oracle.log(Cause::LinkLost { instance, unsettled: 0 });
    }

    fn log_held(&self, mut held: Held) {
        held.forget_settled(self.late);
        let settled = held.settled.into_iter().map(|(_, id)| id);
        for id in held.open.into_values().chain(settled) {
            self.oracle.log(Cause::SettlementLost { id });
        }
    }
}

fn live(source: &mut Option<Box<dyn Source>>) -> &mut dyn Source {
    source.as_deref_mut().expect("nobody uses a source that is dead")
}

#[async_trait]
impl Source for Ear {
    fn held_lanes(&self) -> HeldLanes {
        self.source.as_ref().map(|source| source.held_lanes()).unwrap_or_default()
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let Self { source, heard, .. } = self;
        let outcome = match heard.is_empty() {
            true => live(source).next(heard).await,
            false => Ok(()),
        };
        for event in std::mem::take(&mut self.heard) {
            self.hear(&event);
            events.push(event);
        }
        self.outlive(outcome)
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let outcome = live(&mut self.source).settle(batch).await;
        let settled = self.outlive(outcome)?;
        for (token, verdict) in batch.iter().filter(|(token, _)| !settled.lost.contains(token)) {
            self.lanes.values_mut().for_each(|held| held.settle(*token, *verdict));
        }
        for token in &settled.lost {
            let lost = self.lanes.values_mut().find_map(|held| held.open.remove(token));
            lost.into_iter().for_each(|id| self.oracle.log(Cause::SettlementLost { id }));
        }
        let late = self.late;
        self.lanes.values_mut().for_each(|held| held.forget_settled(late));
        Ok(settled)
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        let outcome = live(&mut self.source).set_prefetch(prefetch).await;
        self.outlive(outcome)
    }

    async fn close(mut self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        let source = self.source.take().expect("nobody closes a source that is dead");
        source.close(ctx).await?;
        // All that was settled is known.
        self.lanes.values_mut().for_each(|held| held.settled.clear());
        Ok(())
    }
}

/// Also where closing has failed, or was given up.
impl Drop for Ear {
    fn drop(&mut self) {
        self.die();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use downhaul_consumer::{
        Broker, MemoryBroker, MemoryLog, Message, Outgoing, PublishOutcome, Subscription,
    };
    use tokio::time::advance;

    use super::*;
    use crate::oracle::Record;

    const LATE: Duration = Duration::from_secs(3);

    /// A source of so many messages, `0` and so on, and their tokens.
    async fn opened(
        oracle: &Oracle,
        broker: Arc<dyn Broker>,
        count: usize,
    ) -> (Box<dyn Source>, Vec<Token>) {
        let (ctx, broker) = (Context::background(), oracle.overhear("one", broker, LATE));
        let queue = Subscription::new("q").topic("t");
        let mut source = broker.source(&ctx, &queue).await.unwrap();
        let sink = broker.sink(&ctx).await.unwrap();
        for number in 0..count {
            let message = Message::new("").with_id(number.to_string());
            let sent = sink.send(&Outgoing::to_topic("t", message)).await.unwrap();
            assert!(matches!(sent.await, PublishOutcome::Confirmed));
        }
        let mut deliveries = Vec::new();
        while deliveries.len() < count {
            let mut events = Vec::new();
            source.next(&mut events).await.unwrap();
            deliveries.extend(events.into_iter().filter_map(Event::into_delivery));
        }
        deliveries.sort_by(|one, other| one.message.id().cmp(other.message.id()));
        (source, deliveries.iter().map(|delivery| delivery.token).collect())
    }

    /// Whether the loss of a link was logged, and the messages whose settlements were lost.
    fn said(oracle: &Oracle) -> (bool, Vec<String>) {
        let (mut loss, mut ids) = (false, Vec::new());
        for record in oracle.records().unwrap() {
            match record {
                Record::Cause(Cause::LinkLost { unsettled: 0, .. }) => loss = true,
                Record::Cause(Cause::SettlementLost { id }) => ids.push(id),
                other => panic!("{other:?}"),
            }
        }
        ids.sort_unstable();
        (loss, ids)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_dies_explains_what_was_open_and_what_was_settled_a_moment_before() {
        let (oracle, broker) = (Oracle::new(), MemoryBroker::new());
        let (mut source, tokens) = opened(&oracle, Arc::new(broker.clone()), 4).await;
        source.settle(&[(tokens[0], Verdict::Ack)]).await.unwrap();
        advance(LATE + Duration::from_millis(1)).await;
        let batch = [(tokens[1], Verdict::Ack), (tokens[2], Verdict::Release)];
        source.settle(&batch).await.unwrap();
        broker.cut();
        while source.next(&mut Vec::new()).await.is_ok() {}
        assert_eq!(said(&oracle), (true, vec!["1".to_owned(), "3".to_owned()]));
        drop(source);
        assert_eq!(said(&oracle).1.len(), 2, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_closed_explains_nothing_of_what_was_settled() {
        let oracle = Oracle::new();
        let (mut source, tokens) = opened(&oracle, Arc::new(MemoryBroker::new()), 2).await;
        let batch = tokens.iter().map(|token| (*token, Verdict::Ack)).collect::<Vec<_>>();
        source.settle(&batch).await.unwrap();
        source.close(&Context::background()).await.unwrap();
        assert_eq!(said(&oracle), (false, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_dropped_explains_what_it_has() {
        let oracle = Oracle::new();
        let (source, _) = opened(&oracle, Arc::new(MemoryBroker::new()), 2).await;
        drop(source);
        assert_eq!(said(&oracle), (true, vec!["0".to_owned(), "1".to_owned()]));
    }

    /// And one that goes as asked for explains nothing.
    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_lost_explains_what_it_had_and_no_other_does() {
        let (oracle, log) = (Oracle::new(), MemoryLog::new(2));
        let log = log.with_revoke_budget(Duration::from_secs(1));
        let (mut source, tokens) = opened(&oracle, Arc::new(log.clone()), 8).await;
        let queue = Subscription::new("q").topic("t");
        let other = log.source(&Context::background(), &queue).await.unwrap();
        let mut lost = Vec::new();
        while lost.is_empty() {
            let mut events = Vec::new();
            source.next(&mut events).await.unwrap();
            // The word that it may go at once is kept back.
            for event in events {
                match event {
                    Event::Lost(lanes) => lost.extend(lanes),
                    Event::Revoking(revoking) => std::mem::forget(revoking),
                    _ => {}
                }
            }
        }
        let (loss, ids) = said(&oracle);
        assert!(loss && !ids.is_empty() && ids.len() < tokens.len(), "{ids:?}");
        drop(other);
    }
}
