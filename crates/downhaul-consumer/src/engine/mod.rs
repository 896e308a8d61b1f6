//! The engine: one task that owns a source, starts handlers, and settles what they return.
//!
//! It keeps a source open from start to stop and opens a new one when the link is lost. What was
//! delivered by a lost source can no longer be settled: its verdict is counted as lost and the
//! message comes again. Two stages lead to a stop: the session drains, which handlers see and which
//! cancels nothing; when the budget is over it ends.

mod flow;
mod limits;
mod processor;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use downhaul_context::{Canceller, Context};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::broker::{Broker, Source};
use crate::engine::flow::Flow;
pub(crate) use crate::engine::limits::Limits;
pub(crate) use crate::engine::processor::Processor;
use crate::error::BrokerError;
use crate::lifecycle::{Link, State, Wanted, Wish};
use crate::retry::backoff;
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::tally::Counters;

/// The delays between attempts to open a source: from the first to the longest.
const REOPEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

pub(crate) struct Engine {
    pub(crate) ctx: Context,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) subscription: Subscription,
    pub(crate) processor: Arc<Processor>,
    pub(crate) limits: Limits,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Runs until the context drains or ends.
    pub(crate) async fn run(mut self) {
        while !self.ctx.is_draining() {
            if self.wish.borrow_and_update().wanted.is_stop() {
                self.say(State::Stopped, Link::Closed);
                self.next_wish().await;
            } else if let Err(error) = self.session().await {
                self.fail(&error);
                self.next_wish().await;
            }
        }
        self.say(State::Stopped, Link::Closed);
        self.shared.status.send_modify(|status| status.answers = u64::MAX);
        self.shared.over.send_replace(true);
    }

    /// From start to stop.
    ///
    /// # Errors
    ///
    /// The source cannot be opened, and trying again would not help.
    async fn session(&mut self) -> Result<(), BrokerError> {
        let (session, canceller) = self.ctx.derive().label(self.shared.name.to_string()).build();
        let mut flow = Flow::new(session.clone(), Arc::clone(&self.processor), &self.limits);
        self.say(State::Starting, Link::Closed);
        let mut failure = None;
        while !self.must_stop() {
            match self.open(&session).await {
                Ok(Some(source)) => flow.attach(source),
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            if let Err(error) = self.pump(&mut flow).await {
                self.lose(&mut flow, &error);
            }
        }
        self.wind_down(flow, &session, &canceller).await;
        failure.map_or(Ok(()), Err)
    }

    /// Opens a source, as often as it takes. `None` when told to stop first.
    async fn open(&mut self, session: &Context) -> Result<Option<Box<dyn Source>>, BrokerError> {
        let since = SystemTime::now();
        for attempt in 1.. {
            let (broker, subscription) = (Arc::clone(&self.broker), self.subscription.clone());
            let opened = tokio::select! {
                biased;
                () = self.told_to_stop() => return Ok(None),
                opened = broker.source(session, &subscription) => opened,
            };
            let error = match opened {
                Ok(source) => return Ok(Some(source)),
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => error,
            };
            self.recovering(since, attempt, &error);
            tokio::select! {
                biased;
                () = self.told_to_stop() => return Ok(None),
                () = sleep(backoff(attempt, REOPEN.0, 2, REOPEN.1)) => {}
            }
        }
        Ok(None)
    }

    /// Takes and handles messages until told to stop.
    ///
    /// # Errors
    ///
    /// The link was lost.
    async fn pump(&mut self, flow: &mut Flow) -> Result<(), BrokerError> {
        loop {
            let wanted = self.wish.borrow_and_update().wanted;
            if wanted.is_stop() || self.ctx.is_draining() {
                return Ok(());
            }
            let run = wanted == Wanted::Run;
            flow.set_intake(run).await?;
            if run {
                flow.start_handlers();
            } else {
                flow.release_buffer().await?;
            }
            self.say(if run { State::Running } else { State::Paused }, Link::Up);
            tokio::select! {
                biased;
                () = self.ctx.draining() => {}
                _ = self.wish.changed() => {}
                event = flow.next() => flow.take(event).await?,
            }
        }
    }

    /// Takes nothing new, finishes what is begun within the budget, releases the rest, and closes
    /// the source.
    async fn wind_down(&self, mut flow: Flow, session: &Context, canceller: &Canceller) {
        self.say(State::Draining, if flow.has_source() { Link::Up } else { Link::Closed });
        canceller.drain(self.limits.drain);
        let last_moment = async {
            session.done().await;
            sleep(self.limits.after_cancel()).await;
        };
        tokio::select! {
            biased;
            () = self.finish(&mut flow, session) => {}
            () = last_moment => {
                let abandoned = flow.abandon();
                Counters::add(&self.shared.counters.abandoned, abandoned);
                tracing::error!(consumer = &*self.shared.name, abandoned, "handlers did not stop");
            }
        }
        let (closing, _closing) = self.ctx.detached().with_timeout(self.limits.close);
        flow.close(&closing).await;
    }

    /// Runs the flow dry.
    async fn finish(&self, flow: &mut Flow, session: &Context) {
        let keep_buffer = self.wish.borrow().wanted != Wanted::Stop;
        let mut result = flow.set_intake(false).await;
        loop {
            if let Err(error) = result {
                self.lose(flow, &error);
            }
            if keep_buffer && !session.is_done() {
                flow.start_handlers();
            } else if let Err(error) = flow.release_buffer().await {
                self.lose(flow, &error);
            }
            if flow.is_idle() {
                return;
            }
            let event = flow.next().await;
            result = flow.take(event).await;
        }
    }

    fn lose(&self, flow: &mut Flow, error: &BrokerError) {
        let consumer = &*self.shared.name;
        tracing::warn!(consumer, error = error.chain(), "link to the broker lost");
        flow.lose_source();
    }

    fn must_stop(&self) -> bool {
        self.ctx.is_draining() || self.wish.borrow().wanted.is_stop()
    }

    async fn told_to_stop(&mut self) {
        let wished = async {
            // Without handles there is nobody left to wish anything.
            if self.wish.wait_for(|wish| wish.wanted.is_stop()).await.is_err() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.ctx.draining() => {}
            () = wished => {}
        }
    }

    async fn next_wish(&mut self) {
        let wished = async {
            if self.wish.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.ctx.draining() => {}
            () = wished => {}
        }
    }

    fn say(&self, state: State, link: Link) {
        let answers = self.wish.borrow().version;
        self.shared.status.send_if_modified(|status| {
            let news = status.state != state
                || status.answers != answers
                || std::mem::discriminant(&status.link) != std::mem::discriminant(&link);
            if status.state != state {
                tracing::info!(consumer = &*self.shared.name, "{} -> {state}", status.state);
            }
            if news {
                (status.state, status.link, status.answers) = (state, link, answers);
                status.failure = None;
            }
            news
        });
    }

    fn recovering(&self, since: SystemTime, attempt: u32, error: &BrokerError) {
        let chain = error.chain();
        tracing::warn!(
            consumer = &*self.shared.name,
            attempt,
            error = chain,
            "no link to the broker"
        );
        let link = Link::Recovering { since, attempt, error: Arc::from(chain) };
        self.shared.status.send_modify(|status| status.link = link);
    }

    fn fail(&self, error: &BrokerError) {
        let chain = error.chain();
        tracing::error!(consumer = &*self.shared.name, error = chain, "consumer failed");
        let answers = self.wish.borrow().version;
        self.shared.status.send_modify(|status| {
            (status.state, status.link, status.answers) = (State::Failed, Link::Closed, answers);
            status.failure = Some(Arc::from(chain));
        });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Also when the runtime drops the task: nobody shall wait for a consumer that is gone.
        self.shared.over.send_replace(true);
    }
}
