//! Names of headers that RabbitMQ carries as properties, as its other clients know them.
//!
//! A message that comes with one of these properties has the header, and one that is sent with the
//! header has the property. A message that is retried or becomes a dead letter keeps them.
//!
//! # Examples
//!
//! A handler that answers whoever asks to be answered:
//!
//! ```
//! use downhaul_consumer::{Incoming, Json, Message, Outcome, Settlement};
//! use downhaul_context::Context;
//! use downhaul_rabbitmq::property;
//!
//! async fn twice(_ctx: Context, request: Incoming<Json<u64>>) -> Outcome {
//!     let answer = Message::json(&(2 * request.body.0)).expect("a number");
//!     let answer = property::answer(request.message(), answer);
//!     answer.into_iter().fold(Outcome::new(Settlement::Ack), Outcome::emit)
//! }
//! # let _ = twice;
//! ```

use downhaul_consumer::headers::{Headers, Value};
use downhaul_consumer::{BrokerError, BrokerErrorKind, Message, Outgoing, headers};
use lapin::BasicProperties;
use lapin::types::ShortString;

use crate::error::{check_short, unsendable};

/// The queue that answers go to.
pub const REPLY_TO: &str = "amqp-reply-to";
/// What kind of message it is, as its publisher calls it.
pub const TYPE: &str = "amqp-type";
/// The application that published it.
pub const APP_ID: &str = "amqp-app-id";
/// How the payload is encoded, such as `gzip`.
pub const CONTENT_ENCODING: &str = "amqp-content-encoding";
/// From 0 to 255, for queues with priorities.
pub const PRIORITY: &str = "amqp-priority";
/// Which message this one answers. Absent where it is the same as
/// [`REQUEST_ID`](headers::REQUEST_ID), which is sent as this property otherwise: read it with
/// [`correlation_id`].
pub const CORRELATION_ID: &str = "amqp-correlation-id";

/// How all these names begin, and no others.
const PREFIX: &str = "amqp-";
/// What a caller of RabbitMQ's own remote calls writes into `reply_to`. Who is called finds the
/// same there with a dot and the caller's address behind it.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

type Get = fn(&BasicProperties) -> &Option<ShortString>;
type Set = fn(BasicProperties, ShortString) -> BasicProperties;

/// Those that are a text and no more.
const TEXTS: [(&str, Get, Set); 4] = [
    (REPLY_TO, BasicProperties::reply_to, BasicProperties::with_reply_to),
    (TYPE, BasicProperties::kind, BasicProperties::with_type),
    (APP_ID, BasicProperties::app_id, BasicProperties::with_app_id),
    (CONTENT_ENCODING, BasicProperties::content_encoding, BasicProperties::with_content_encoding),
];

/// What an answer to this message bears as its [`CORRELATION_ID`]: the same as the message, which
/// is the id of its request if it has no other.
pub fn correlation_id(message: &Message) -> Option<&str> {
    let headers = message.headers();
    headers.get(CORRELATION_ID).or_else(|| headers.get(headers::REQUEST_ID))
}

/// An answer to this message, for the queue that its [`REPLY_TO`] names: with the correlation id by
/// which its caller knows it, and [`optional`](Outgoing::optional), since the caller may have given
/// up. `None` if it asks for no answer.
///
/// The caller says where to: any queue that its own messages could name.
pub fn answer(request: &Message, answer: Message) -> Option<Outgoing> {
    let queue = request.headers().get(REPLY_TO)?;
    let answer = match correlation_id(request) {
        Some(id) => answer.with_header(CORRELATION_ID, id),
        None => answer,
    };
    Some(Outgoing::to_queue(queue, answer).optional())
}

/// Whether a header is a property, and so not sent as a header, nor taken for one that came.
pub(crate) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// # Errors
///
/// The message is at fault: a header cannot be the property that it is sent as.
pub(crate) fn check(name: &str, value: &Value) -> Result<(), BrokerError> {
    if !is_one(name) {
        return Ok(());
    }
    let text = value.as_text();
    let text = text.ok_or_else(|| unsendable(format!("the header `{name}` is no text")))?;
    let known = name == CORRELATION_ID || TEXTS.iter().any(|(known, ..)| *known == name);
    match name {
        PRIORITY if text.parse::<u8>().is_err() => {
            Err(unsendable(format!("the header `{name}` is not a number from 0 to 255")))
        }
        PRIORITY => Ok(()),
        // It would cost the channel: it is for the channel that consumes the answers.
        REPLY_TO if text == DIRECT_REPLY_TO => {
            let words = "cannot be waited for here: name a queue that you consume";
            Err(unsendable(format!("answers to `{text}` {words}")))
        }
        _ if known => check_short(name, text, BrokerErrorKind::Message),
        _ => Err(unsendable(format!("there is no property for the header `{name}`"))),
    }
}

/// Adds those that the headers name, which were [checked](check).
pub(crate) fn write(headers: &Headers, mut properties: BasicProperties) -> BasicProperties {
    let own = headers.iter().filter(|(name, _)| is_one(name));
    for (name, value) in own.filter_map(|(name, value)| Some((name, value.as_text()?))) {
        if let Some((.., set)) = TEXTS.iter().find(|(known, ..)| *known == name) {
            properties = set(properties, value.into());
        } else if name == PRIORITY
            && let Ok(priority) = value.parse()
        {
            properties = properties.with_priority(priority);
        } else if name == CORRELATION_ID {
            properties = properties.with_correlation_id(value.into());
        }
    }
    if properties.correlation_id().is_none()
        && let Some(Ok(id)) = headers.get(headers::REQUEST_ID).map(ShortString::try_new)
    {
        properties = properties.with_correlation_id(id);
    }
    properties
}

/// Whether this is where RabbitMQ itself hands an answer to its caller. It counts that as routed
/// nowhere.
pub(crate) fn is_caller(queue: &str) -> bool {
    queue.strip_prefix(DIRECT_REPLY_TO).is_some_and(|rest| rest.starts_with('.'))
}

/// Sets a header for each. A message that names no request belongs to the one that it answers.
///
/// Those that say nothing are left out, and so is a place for answers that nobody can send to: a
/// retry with it could not be sent either.
pub(crate) fn read(properties: &BasicProperties, headers: &mut Headers) {
    for (name, get, _) in TEXTS {
        let value = get(properties).as_ref().map_or("", |value| value.as_str());
        if !value.is_empty() && (name, value) != (REPLY_TO, DIRECT_REPLY_TO) {
            headers.set(name, value);
        }
    }
    if let Some(priority) = properties.priority() {
        headers.set(PRIORITY, priority.to_string());
    }
    let Some(id) = properties.correlation_id() else { return };
    match headers.get(headers::REQUEST_ID) {
        None => headers.set(headers::REQUEST_ID, id.as_str()),
        Some(request) if request == id.as_str() => {}
        Some(_) => headers.set(CORRELATION_ID, id.as_str()),
    }
}
