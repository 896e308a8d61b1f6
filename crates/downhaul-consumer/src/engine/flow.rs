//! [`Flow`]: the messages between a source and its handlers.

use std::collections::VecDeque;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use downhaul_context::Context;
use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};

use crate::broker::{Delivery, Source, Token};
use crate::engine::limits::Limits;
use crate::engine::processor::Processor;
use crate::error::BrokerError;
use crate::tally::{Counters, End};

/// Holds the source, what has arrived, and what is being handled.
pub(crate) struct Flow {
    session: Context,
    processor: Arc<Processor>,
    concurrency: usize,
    source: Option<Box<dyn Source>>,
    intake: bool,
    /// Counts the sources: a verdict on a delivery of an earlier one is lost.
    generation: u64,
    arrived: Vec<Delivery>,
    buffer: VecDeque<Delivery>,
    handlers: JoinSet<Finished>,
}

/// A message whose handling is over.
pub(crate) struct Finished {
    generation: u64,
    token: Token,
    end: End,
}

/// What has happened; made by [`Flow::next`], which may be dropped, and taken by [`Flow::take`],
/// which may not.
pub(crate) enum Event {
    Finished(Result<Finished, JoinError>),
    Arrived(Result<(), BrokerError>),
}

impl Flow {
    pub(crate) fn new(session: Context, processor: Arc<Processor>, limits: &Limits) -> Self {
        Self {
            session,
            processor,
            concurrency: usize::from(limits.concurrency),
            source: None,
            intake: true,
            generation: 0,
            arrived: Vec::new(),
            buffer: VecDeque::new(),
            handlers: JoinSet::new(),
        }
    }

    pub(crate) fn attach(&mut self, source: Box<dyn Source>) {
        self.source = Some(source);
        self.intake = true;
    }

    /// Drops a dead source and what it delivered that nobody has begun: the broker gives it again.
    pub(crate) fn lose_source(&mut self) {
        self.source = None;
        self.generation += 1;
        self.buffer.clear();
        self.arrived.clear();
        self.gauge();
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    fn gauge(&self) {
        self.processor.shared.buffered.store(self.buffer.len(), Ordering::Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.handlers.is_empty()
    }

    pub(crate) async fn set_intake(&mut self, open: bool) -> Result<(), BrokerError> {
        if let Some(source) = self.source.as_mut().filter(|_| self.intake != open) {
            source.set_intake(open).await?;
            self.intake = open;
        }
        Ok(())
    }

    /// Starts handlers for what has arrived, up to the concurrency.
    pub(crate) fn start_handlers(&mut self) {
        while self.handlers.len() < self.concurrency {
            let Some(delivery) = self.buffer.pop_front() else { break };
            let (generation, token) = (self.generation, delivery.token);
            let (processor, session) = (Arc::clone(&self.processor), self.session.clone());
            self.handlers.spawn(async move {
                let processed = AssertUnwindSafe(processor.process(&session, delivery));
                // Handlers' panics are caught closer to them. What panics here is a hook: the
                // message comes again.
                let end = processed.catch_unwind().await.unwrap_or(End::Released);
                Finished { generation, token, end }
            });
        }
        self.gauge();
    }

    /// Gives back what has arrived and was not begun.
    pub(crate) async fn release_buffer(&mut self) -> Result<(), BrokerError> {
        let batch: Vec<_> =
            self.buffer.drain(..).map(|delivery| (delivery.token, End::Released)).collect();
        self.gauge();
        self.settle(&batch).await
    }

    /// Waits for a handler to finish or a message to arrive. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        let arriving = async {
            match &mut self.source {
                Some(source) => source.next(&mut self.arrived).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(finished) = self.handlers.join_next() => Event::Finished(finished),
            arrived = arriving => Event::Arrived(arrived),
        }
    }

    /// Settles what has finished, with all else that has finished since, or buffers what has
    /// arrived.
    pub(crate) async fn take(&mut self, event: Event) -> Result<(), BrokerError> {
        // What arrived before a wait was dropped is still there.
        self.buffer.extend(self.arrived.drain(..));
        match event {
            Event::Arrived(arrived) => arrived,
            Event::Finished(first) => {
                let mut batch = Vec::new();
                let mut next = Some(first);
                while let Some(finished) = next {
                    batch.extend(self.still_ours(finished));
                    next = self.handlers.try_join_next();
                }
                self.settle(&batch).await
            }
        }
    }

    /// Stops waiting for handlers and returns how many were left.
    pub(crate) fn abandon(&mut self) -> usize {
        let left = self.handlers.len();
        self.handlers.abort_all();
        left
    }

    /// Closes the source. What is not settled comes again.
    pub(crate) async fn close(mut self, ctx: &Context) {
        if let Some(source) = self.source.take()
            && let Ok(Err(error)) = ctx.run(source.close(ctx)).await
        {
            tracing::warn!(error = error.chain(), "last settlements may be lost");
        }
    }

    /// What can still be settled. A delivery of an earlier source cannot, and comes again.
    fn still_ours(&self, finished: Result<Finished, JoinError>) -> Option<(Token, End)> {
        let finished = finished.ok()?;
        if finished.generation == self.generation && self.source.is_some() {
            return Some((finished.token, finished.end));
        }
        Counters::add(&self.processor.shared.counters.lost, 1);
        None
    }

    async fn settle(&mut self, batch: &[(Token, End)]) -> Result<(), BrokerError> {
        let Some(source) = self.source.as_mut().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        let verdicts: Vec<_> = batch.iter().map(|(token, end)| (*token, end.verdict())).collect();
        let settled = source.settle(&verdicts).await;
        let counters = &self.processor.shared.counters;
        match settled {
            Ok(_) => batch.iter().for_each(|(_, end)| counters.count(*end)),
            Err(_) => Counters::add(&counters.lost, batch.len()),
        }
        settled.map(|_| ())
    }
}
