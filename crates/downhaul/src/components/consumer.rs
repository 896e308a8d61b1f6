//! [`ConsumerWorker`]: a consumer as a component.

use std::fmt;
use std::future::pending;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use downhaul_consumer::{Broker, Consumer, ConsumerHandle, InFlight, Link, State, Tally, Wanted};
use downhaul_context::Context;

use crate::component::{Component, Ended};
use crate::error::BoxError;
use crate::telemetry::MessageSpans;

/// Runs a consumer. Its app controls it by name.
///
/// One that has failed for good is a failure of the component: it is started again, with a
/// [`Restart`](crate::Restart), or drains the app. A lost link is none: a consumer waits for it.
#[derive(Debug)]
pub struct ConsumerWorker {
    consumer: Consumer,
    broker: Arc<dyn Broker>,
    ready_with_link: bool,
    /// The consumer of this life.
    running: RwLock<Option<ConsumerHandle>>,
}

impl ConsumerWorker {
    /// Makes a component of a consumer and the broker that it reads from. Its spans and lines are
    /// those of [`MessageSpans`], unless the consumer has an observer of its own.
    pub fn new(consumer: Consumer, broker: Arc<dyn Broker>) -> Self {
        let consumer = consumer.default_observer(Arc::new(MessageSpans));
        Self { consumer, broker, ready_with_link: false, running: RwLock::default() }
    }

    /// The service is not ready while the link to the broker is lost.
    ///
    /// Without this, it is ready and degraded then: a broker is mostly lost to all instances at
    /// once, and taking them all out of service helps nobody.
    #[must_use]
    pub fn ready_with_link(mut self) -> Self {
        self.ready_with_link = true;
        self
    }

    fn lost_link(&self) -> Option<String> {
        let handle = self.consumer()?;
        match handle.status().link {
            Link::Recovering { error, .. } => {
                Some(format!("consumer {} has no link: {error}", handle.name()))
            }
            _ => None,
        }
    }

    /// That an operator has paused or stopped it, who may forget it, or that its kill switch is
    /// open.
    fn takes_nothing(&self) -> Option<String> {
        let handle = self.consumer()?;
        let (name, status) = (handle.name(), handle.status());
        match status.state {
            State::Paused => Some(format!("consumer {name} is paused")),
            // Not with its component, which is told of by itself.
            state if !matches!(status.wanted, Wanted::Run | Wanted::Pause) => {
                Some(format!("consumer {name} is {state}"))
            }
            _ if status.suspended_until.is_some() => {
                Some(format!("consumer {name} takes nothing for now: too much fails"))
            }
            _ => None,
        }
    }

    /// What its messages wait for.
    fn held_up(&self) -> Option<String> {
        let handle = self.consumer()?;
        let why = handle.snapshot().held_up.into_iter().next()?;
        Some(format!("consumer {} {why}", handle.name()))
    }
}

#[async_trait]
impl Component for ConsumerWorker {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let handle = self.consumer.clone().spawn(ctx, Arc::clone(&self.broker));
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
        match handle.settled().await {
            State::Failed => Err(failure(&handle)),
            _ => Ok(()),
        }
    }

    async fn stop(&self, _ctx: &Context) -> String {
        let Some(handle) = self.consumer() else { return String::new() };
        handle.ended().await;
        let come_again = handle.last_stop().map_or(0, |stop| stop.come_again);
        Words { tally: handle.tally(), come_again }.to_string()
    }

    async fn ended(&self) -> Ended {
        let Some(handle) = self.consumer() else { return pending().await };
        match handle.wait_for(|status| status.state == State::Failed).await {
            Some(_) => Ended::Failed(failure(&handle)),
            None => pending().await,
        }
    }

    fn can_restart(&self) -> bool {
        true
    }

    fn is_at_work(&self) -> bool {
        let state = self.consumer().map(|handle| handle.status().state);
        !matches!(state, None | Some(State::Stopped | State::Failed))
    }

    fn not_ready(&self) -> Option<String> {
        let handle = self.consumer()?;
        let (name, status) = (handle.name(), handle.status());
        match status.failure {
            Some(failure) => Some(format!("consumer {name} failed: {failure}")),
            None if self.ready_with_link => self.lost_link(),
            None => None,
        }
    }

    fn degraded(&self) -> Option<String> {
        let lost_link = self.lost_link().filter(|_| !self.ready_with_link);
        lost_link.or_else(|| self.held_up()).or_else(|| self.takes_nothing())
    }

    fn in_flight(&self) -> Vec<String> {
        let handle = self.consumer();
        handle.map(|handle| handle.in_flight().iter().map(line).collect()).unwrap_or_default()
    }

    fn consumer(&self) -> Option<ConsumerHandle> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a consumer has failed.
fn failure(handle: &ConsumerHandle) -> BoxError {
    handle.status().failure.as_deref().unwrap_or("the consumer failed").into()
}

fn line(message: &InFlight) -> String {
    let InFlight { message_id, request_id, since, .. } = message;
    let age = since.elapsed().as_secs_f64();
    format!("message {message_id}, request_id={request_id}, after {age:.2} s")
}

const ONE_AGAIN: &str = "finished message comes again";
const AGAIN: &str = "finished messages come again";

/// A tally in words: only what there was.
struct Words {
    tally: Tally,
    come_again: u64,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, come_again } = *self;
        let plural = if tally.acked == 1 { "" } else { "s" };
        write!(f, "{} message{plural} processed", tally.acked)?;
        let others = [
            (tally.released, "given back"),
            (tally.retried, "tried again"),
            (tally.dead_lettered, "dead-lettered"),
            (tally.dropped, "dropped"),
            (tally.duplicates, "processed before"),
            (tally.lost, "to come again after a lost link"),
            (tally.abandoned, "abandoned in the middle"),
            (come_again, if come_again == 1 { ONE_AGAIN } else { AGAIN }),
        ];
        let there = others.into_iter().filter(|(count, _)| *count > 0);
        there.into_iter().try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}
