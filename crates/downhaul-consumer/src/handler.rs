//! What the application writes: a function of a context and a message.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use downhaul_context::{Context, RequestId};
use tokio_util::sync::ReusableBoxFuture;

use crate::broker::{Delivery, Token};
use crate::decode::{Decode, DecodeError, decode_safely};
use crate::message::headers::{self, Headers};
use crate::message::{Message, Name};
use crate::origin::{Origin, Position};
use crate::settlement::{IntoOutcome, Outcome};

/// A message as a handler gets it: its body decoded, and what is known of its delivery.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incoming<M> {
    /// The decoded body.
    pub body: M,
    meta: Meta,
}

impl<M> Incoming<M> {
    pub(crate) fn new(body: M, meta: Meta) -> Self {
        Self { body, meta }
    }

    /// The id of the message, the same on every delivery of it.
    pub fn id(&self) -> &str {
        self.meta.message.id()
    }

    /// The key of the message: what it is about. `None` also if that is no text: it is in
    /// [`key_bytes`](Self::key_bytes).
    pub fn key(&self) -> Option<&str> {
        self.meta.message.key()
    }

    /// The key of the message, whether it is a text or not.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.meta.message.key_bytes()
    }

    /// The topic that the message was published to, if it is known.
    pub fn topic(&self) -> Option<&str> {
        self.meta.topic()
    }

    /// Where in that topic it is, if the broker is a log: its partition and offset there, also of a
    /// message that came back from a delay or from the dead letters.
    pub fn position(&self) -> Option<Position> {
        self.meta.position()
    }

    /// When the message was first published, if its broker or its publisher says: Kafka does, and
    /// RabbitMQ to whole seconds. By a clock that is not ours.
    pub fn timestamp(&self) -> Option<SystemTime> {
        self.meta.timestamp()
    }

    /// The message as it came.
    pub fn message(&self) -> &Message {
        &self.meta.message
    }

    /// The request that the message belongs to, as its context has it.
    pub fn request_id(&self) -> RequestId {
        self.meta.message.request()
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        self.meta.message.headers()
    }

    /// Which attempt at handling the message this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.meta.attempt
    }

    /// How often the broker has delivered the message before, as far as it knows.
    pub fn redeliveries(&self) -> u32 {
        self.meta.redeliveries
    }
}

/// Where a consumer reads: shared by all that it gets.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) queue: Name,
    pub(crate) system: &'static str,
}

/// What is known of a delivery besides its body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Meta {
    /// The message.
    pub message: Message,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How often the broker has delivered it before, as far as it knows.
    pub redeliveries: u32,
    pub(crate) origin: Origin,
    address: Arc<Address>,
    pub(crate) token: Token,
    /// For which attempt it was delivered.
    delivered_for: u32,
    /// How often it was put off since it was delivered, because it could not be settled.
    pub(crate) put_off: u32,
    /// Whether it was to be a dead letter, and could not be moved.
    pub(crate) is_unburied: bool,
    /// Whether it stands in a line with others, behind which they wait.
    pub(crate) is_in_line: bool,
}

impl Meta {
    pub(crate) fn new(mut delivery: Delivery, address: &Arc<Address>) -> Self {
        let origin = Origin::take(&mut delivery);
        let Delivery { token, message, redeliveries, .. } = delivery;
        let attempt = if origin.is_topic() { 1 } else { attempt_of(&message, &address.queue) };
        Self {
            message,
            attempt,
            redeliveries,
            origin,
            address: Arc::clone(address),
            token,
            delivered_for: attempt,
            put_off: 0,
            is_unburied: false,
            is_in_line: false,
        }
    }

    /// The queue it was read from.
    pub fn queue(&self) -> &Name {
        &self.address.queue
    }

    /// The messaging system it comes from.
    pub fn system(&self) -> &'static str {
        self.address.system
    }

    /// Whether this is the first attempt since the broker delivered the message. A retry that waits
    /// in hand is none; one that came by way of the broker was delivered again.
    pub fn is_first_of_delivery(&self) -> bool {
        self.attempt == self.delivered_for
    }

    /// The topic that the message was published to, if it is known. A message that came back to its
    /// queue, from a delay or from the dead letters, has it in a header.
    pub fn topic(&self) -> Option<&str> {
        self.origin.topic(self.message.headers())
    }

    /// Where in that topic it is, if the broker is a log.
    pub fn position(&self) -> Option<Position> {
        self.origin.position(self.message.headers())
    }

    /// When it was first published, if that is known.
    pub fn timestamp(&self) -> Option<SystemTime> {
        self.origin.timestamp(self.message.headers())
    }
}

/// Which attempt a message says that it is for, that did not come by way of a topic. A dead letter
/// of another queue has been tried there and not here.
fn attempt_of(message: &Message, queue: &Name) -> u32 {
    let headers = message.headers();
    if headers.get(headers::ORIGIN_QUEUE).is_some_and(|origin| origin != queue.as_str()) {
        return 1;
    }
    headers.get(headers::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// A handler under way. Its box can be used again for the next call, since all of a handler's are
/// of one size.
pub(crate) type Handling = ReusableBoxFuture<'static, Outcome>;

/// A handler without its types, as the engine runs it.
#[derive(Clone)]
pub(crate) struct Handler(Arc<dyn Fn(Context, Meta, Option<Handling>) -> Called + Send + Sync>);

/// A handler under way, or the reason why it was not called.
type Called = Result<Handling, DecodeError>;

impl Handler {
    pub(crate) fn new<M, F, Fut>(function: F) -> Self
    where
        M: Decode + 'static,
        F: Fn(Context, Incoming<M>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcome,
    {
        Self(Arc::new(move |ctx, meta, spare| {
            let body = decode_safely(&meta.message)?;
            let handling = function(ctx, Incoming::new(body, meta));
            let handling = async move { handling.await.into_outcome() };
            Ok(match spare {
                Some(mut spare) => {
                    spare.set(handling);
                    spare
                }
                None => Handling::new(handling),
            })
        }))
    }

    /// Calls it, in a `spare` box if there is one: that of a call which is over.
    pub(crate) fn call(&self, ctx: Context, meta: Meta, spare: Option<Handling>) -> Called {
        (self.0)(ctx, meta, spare)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}
