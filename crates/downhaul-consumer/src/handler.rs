//! What the application writes: a function of a context and a message.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use downhaul_context::Context;

use crate::decode::{Decode, DecodeError};
use crate::headers::Headers;
use crate::message::Message;
use crate::settlement::{IntoOutcome, Outcome};

/// A message as a handler gets it: its body decoded, and what is known of its delivery.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incoming<M> {
    /// The decoded body.
    pub body: M,
    meta: Arc<Meta>,
}

impl<M> Incoming<M> {
    /// The id of the message, the same on every delivery of it.
    pub fn id(&self) -> &str {
        self.meta.message.id()
    }

    /// The topic that the message was published to, if it is known.
    pub fn topic(&self) -> Option<&str> {
        self.headers().get(crate::headers::TOPIC)
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        self.meta.message.headers()
    }

    /// Which attempt at handling the message this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.meta.attempt
    }

    /// Whether the broker says that the message may have been delivered before.
    pub fn redelivered(&self) -> bool {
        self.meta.redelivered
    }
}

/// What is known of a delivery besides its body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Meta {
    /// The message.
    pub message: Message,
    /// The queue it was read from.
    pub queue: Arc<str>,
    /// The messaging system it comes from.
    pub system: &'static str,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether the broker says that it may have been delivered before.
    pub redelivered: bool,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A handler without its types, as the engine runs it.
#[derive(Clone)]
pub(crate) struct Handler(Arc<dyn Fn(Context, Arc<Meta>) -> Called + Send + Sync>);

/// A handler under way, or the reason why it was not called.
type Called = Result<BoxFuture<Outcome>, DecodeError>;

impl Handler {
    pub(crate) fn new<M, F, Fut>(function: F) -> Self
    where
        M: Decode + 'static,
        F: Fn(Context, Incoming<M>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcome,
    {
        Self(Arc::new(move |ctx, meta| {
            let body = M::decode(&meta.message)?;
            let handling = function(ctx, Incoming { body, meta });
            Ok(Box::pin(async move { handling.await.into_outcome() }))
        }))
    }

    pub(crate) fn call(&self, ctx: Context, meta: Arc<Meta>) -> Called {
        (self.0)(ctx, meta)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}
