//! [`Flow`]: the messages between a source and its handlers.

use std::collections::VecDeque;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use downhaul_context::Context;
use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};

use crate::broker::{Delivery, Source, Token, Verdict};
use crate::engine::limits::Limits;
use crate::engine::processor::Processor;
use crate::error::BrokerError;
use crate::shared::Counters;

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
    verdict: Verdict,
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
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
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
            let Some(delivery) = self.buffer.pop_front() else { return };
            let (generation, token) = (self.generation, delivery.token);
            let (processor, session) = (Arc::clone(&self.processor), self.session.clone());
            self.handlers.spawn(async move {
                let processed = AssertUnwindSafe(processor.process(&session, delivery));
                // Handlers' panics are caught closer to them. What panics here is a hook: the
                // message comes again.
                let verdict = processed.catch_unwind().await.unwrap_or(Verdict::Release);
                Finished { generation, token, verdict }
            });
        }
    }

    /// Gives back what has arrived and was not begun.
    pub(crate) async fn release_buffer(&mut self) -> Result<(), BrokerError> {
        let batch: Vec<_> =
            self.buffer.drain(..).map(|delivery| (delivery.token, Verdict::Release)).collect();
        Counters::add(&self.processor.shared.counters.released, batch.len());
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
                    batch.extend(self.verdict_on(finished));
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

    fn verdict_on(&self, finished: Result<Finished, JoinError>) -> Option<(Token, Verdict)> {
        let finished = finished.ok()?;
        if finished.generation == self.generation && self.source.is_some() {
            return Some((finished.token, finished.verdict));
        }
        Counters::add(&self.processor.shared.counters.lost, 1);
        None
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<(), BrokerError> {
        let Some(source) = self.source.as_mut().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        let settled = source.settle(batch).await;
        if settled.is_err() {
            Counters::add(&self.processor.shared.counters.lost, batch.len());
        }
        settled.map(|_| ())
    }
}
