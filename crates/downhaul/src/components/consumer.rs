//! [`ConsumerWorker`]: a consumer as a component.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use downhaul_consumer::{Broker, Consumer, ConsumerHandle, InFlight, Link, State, Tally};
use downhaul_context::Context;

use crate::component::Component;
use crate::error::BoxError;
use crate::telemetry::MessageSpans;

/// Runs a consumer. Its app controls it by name.
#[derive(Debug)]
pub struct ConsumerWorker {
    /// Taken when started.
    consumer: Mutex<Option<Consumer>>,
    broker: Arc<dyn Broker>,
    handle: OnceLock<ConsumerHandle>,
}

impl ConsumerWorker {
    /// Makes a component of a consumer and the broker that it reads from.
    pub fn new(consumer: Consumer, broker: Arc<dyn Broker>) -> Self {
        let consumer = consumer.observer(Arc::new(MessageSpans));
        Self { consumer: Mutex::new(Some(consumer)), broker, handle: OnceLock::new() }
    }
}

#[async_trait]
impl Component for ConsumerWorker {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(consumer) = consumer else { return Ok(()) };
        let handle = self.handle.get_or_init(|| consumer.spawn(ctx, Arc::clone(&self.broker)));
        match handle.settled().await {
            State::Failed => {
                let failure = handle.status().failure;
                Err(failure.as_deref().unwrap_or("the consumer failed").into())
            }
            _ => Ok(()),
        }
    }

    async fn stop(&self, _ctx: &Context) -> String {
        let Some(handle) = self.handle.get() else { return String::new() };
        handle.ended().await;
        Words(handle.tally()).to_string()
    }

    fn not_ready(&self) -> Option<String> {
        let handle = self.handle.get()?;
        let (name, status) = (handle.name(), handle.status());
        match (&status.link, &status.failure) {
            (_, Some(failure)) => Some(format!("consumer {name} failed: {failure}")),
            (Link::Recovering { error, .. }, _) => Some(format!("consumer {name}: {error}")),
            _ => None,
        }
    }

    fn in_flight(&self) -> Vec<String> {
        let handle = self.handle.get();
        handle.map(|handle| handle.in_flight().iter().map(line).collect()).unwrap_or_default()
    }

    fn consumer(&self) -> Option<ConsumerHandle> {
        self.handle.get().cloned()
    }
}

fn line(message: &InFlight) -> String {
    let InFlight { message_id, request_id, since, .. } = message;
    let age = since.elapsed().as_secs_f64();
    format!("message {message_id}, request_id={request_id}, after {age:.2} s")
}

/// A tally in words: only what there was.
struct Words(Tally);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.0;
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
        ];
        let there = others.into_iter().filter(|(count, _)| *count > 0);
        there.into_iter().try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}
