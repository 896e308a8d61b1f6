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
//! use downhaul_consumer::{Incoming, Json, Message, Outcome, Outgoing, Settlement};
//! use downhaul_context::Context;
//! use downhaul_rabbitmq::property;
//!
//! async fn twice(_ctx: Context, request: Incoming<Json<u64>>) -> Outcome {
//!     let answer = Message::json(&(2 * request.body.0)).expect("a number");
//!     let answer = match property::correlation_id(request.message()) {
//!         Some(id) => answer.with_header(property::CORRELATION_ID, id),
//!         None => answer,
//!     };
//!     let outcome = Outcome::new(Settlement::Ack);
//!     match request.headers().get(property::REPLY_TO) {
//!         Some(queue) => outcome.emit(Outgoing::to_queue(queue, answer)),
//!         None => outcome,
//!     }
//! }
//! # let _ = twice;
//! ```

use downhaul_consumer::headers::Headers;
use downhaul_consumer::{BrokerError, BrokerErrorKind, Message, headers};
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

/// How all these names begin.
const PREFIX: &str = "amqp-";

type Get = fn(&BasicProperties) -> &Option<ShortString>;
type Set = fn(BasicProperties, ShortString) -> BasicProperties;

/// Those that are a text and no more.
const TEXTS: [(&str, Get, Set); 4] = [
    (REPLY_TO, BasicProperties::reply_to, BasicProperties::with_reply_to),
    (TYPE, BasicProperties::kind, BasicProperties::with_type),
    (APP_ID, BasicProperties::app_id, BasicProperties::with_app_id),
    (CONTENT_ENCODING, BasicProperties::content_encoding, BasicProperties::with_content_encoding),
];

/// The property `correlation_id` of a message: what an answer to it bears as well.
pub fn correlation_id(message: &Message) -> Option<&str> {
    let headers = message.headers();
    headers.get(CORRELATION_ID).or_else(|| headers.get(headers::REQUEST_ID))
}

/// Whether a header is sent as a property.
pub(crate) fn is_one(name: &str) -> bool {
    let is_text = |(known, ..): &(&str, Get, Set)| *known == name;
    name.starts_with(PREFIX)
        && (name == PRIORITY || name == CORRELATION_ID || TEXTS.iter().any(is_text))
}

/// # Errors
///
/// The message is at fault: a header cannot be the property that it is sent as.
pub(crate) fn check(name: &str, value: &str) -> Result<(), BrokerError> {
    if name == PRIORITY && value.parse::<u8>().is_err() {
        return Err(unsendable(format!("the header `{name}` is not a number from 0 to 255")));
    }
    if !is_one(name) {
        return Ok(());
    }
    check_short(&format!("the header `{name}`"), value, BrokerErrorKind::Message)
}

/// Adds those that the headers name, which were [checked](check).
pub(crate) fn write(headers: &Headers, mut properties: BasicProperties) -> BasicProperties {
    for (name, value) in headers.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
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

/// Sets a header for each. A message that names no request belongs to the one that it answers.
pub(crate) fn read(properties: &BasicProperties, headers: &mut Headers) {
    for (name, get, _) in TEXTS {
        if let Some(value) = get(properties) {
            headers.set(name, value.as_str());
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
