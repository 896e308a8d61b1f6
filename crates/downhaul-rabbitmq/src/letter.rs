//! [`Letter`]: a message as AMQP carries it, and back.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use downhaul_consumer::headers::Value;
use downhaul_consumer::{BrokerError, BrokerErrorKind, Delivery, Message, Name, Token, headers};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::error::{check_short, unsendable};
use crate::property;

/// An upper bound for all of a content header but its texts.
const FIXED: usize = 64;
/// The media type of a message that has none.
const BYTES: &str = "application/octet-stream";
/// The media type of most messages.
const JSON: &str = "application/json";
/// What RabbitMQ reads or writes itself: where else a message goes, and what has happened to it.
const RESERVED: [&str; 9] = [
    "CC",
    "BCC",
    "x-acquired-count",
    "x-death",
    "x-delay",
    "x-delivery-count",
    "x-received-from",
    "x-shovelled",
    "x-shovelled-timestamp",
];
/// How more of these begin.
const RESERVED_PREFIXES: [&str; 3] = ["x-first-death-", "x-last-death-", "x-stream-"];
/// As RabbitMQ calls a message that survives a restart.
const PERSISTENT: u8 = 2;

/// A message that RabbitMQ takes: nothing of it is too long or has a name that is kept.
#[derive(Debug)]
pub(crate) struct Letter(Message);

impl Letter {
    /// # Errors
    ///
    /// The message is at fault: something in it is too long.
    pub(crate) fn new(
        message: &Message,
        frame_max: usize,
        largest: usize,
    ) -> Result<Self, BrokerError> {
        let id = message.id();
        let size = message.payload().len();
        if size > largest {
            let words = format!("the payload has {size} bytes, RabbitMQ takes {largest}");
            return Err(unsendable(words));
        }
        let header_size = FIXED + id.len() + message.content_type().len() + headers_size(message);
        if header_size > frame_max {
            let words = format!("the headers have {header_size} bytes, RabbitMQ takes {frame_max}");
            return Err(unsendable(words));
        }
        let at_fault = BrokerErrorKind::Message;
        check_short("the message's id", id, at_fault)?;
        check_short("the content type", message.content_type(), at_fault)?;
        for (name, value) in message.headers().iter() {
            check_short("the name of a header", name, at_fault)?;
            property::check(name, value)?;
            if is_reserved(name) {
                return Err(unsendable(format!("RabbitMQ keeps the header `{name}` for itself")));
            }
        }
        Ok(Self(message.clone()))
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    /// All but the payload. What is made into a [`ShortString`] here was found to be short.
    pub(crate) fn properties(&self) -> BasicProperties {
        let message = &self.0;
        let mut properties = BasicProperties::default()
            .with_message_id(message.id().into())
            .with_delivery_mode(PERSISTENT)
            .with_timestamp(timestamp(message));
        // What says nothing is not sent: it costs the broker as much as what says something.
        if message.content_type() != BYTES {
            properties = properties.with_content_type(message.content_type().into());
        }
        let mut table = FieldTable::default();
        for (name, value) in pairs(message).filter(|(name, _)| !property::is_one(name)) {
            table.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        if !table.inner().is_empty() {
            properties = properties.with_headers(table);
        }
        property::write(message.headers(), properties)
    }
}

/// What is sent besides the payload: headers, some of them as properties, and the key.
fn pairs(message: &Message) -> impl Iterator<Item = (&str, &[u8])> {
    let key = message.key_bytes().map(|key| (headers::KEY, key));
    let headers = message.headers().iter().map(|(name, value)| (name, value.as_bytes()));
    headers.chain(key)
}

/// Reads what was delivered, also from publishers that know nothing of Downhaul.
///
/// A message without an id, or with an empty one, gets a fresh one at every delivery: RabbitMQ has
/// none for it, and one made of the content would make two equal messages the same.
pub(crate) fn read(token: Token, delivery: lapin::message::Delivery) -> Delivery {
    let lapin::message::Delivery { properties, data, exchange, routing_key, redelivered, .. } =
        delivery;
    let id = properties.message_id().as_ref().filter(|id| !id.as_str().is_empty());
    let mut message = match id {
        Some(id) => Message::identified(id.as_str(), data),
        None => Message::new(data),
    };
    if let Some(content_type) = properties.content_type() {
        message = message.with_content_type(media_type(content_type.as_str()));
    }
    let (headers, mut key) = (message.headers_mut(), None);
    headers.extend(properties.headers().iter().flatten().filter_map(|(name, value)| {
        let name = name.as_str();
        let value = readable(value).filter(|_| !is_reserved(name) && !property::is_one(name))?;
        match headers::name_of(name) {
            Cow::Borrowed(headers::KEY) => key = Some(value),
            name => return Some((name, value)),
        }
        None
    }));
    property::read(&properties, headers);
    if let Some(key) = key {
        message = message.with_key_bytes(key.as_bytes());
    }
    // Without an exchange the routing key is the name of a queue, and the topic is not known.
    let is_topic = !exchange.as_str().is_empty();
    let topic = is_topic.then(|| Name::from(routing_key.as_str()));
    let redeliveries = counted(&properties).unwrap_or_else(|| u32::from(redelivered));
    let timestamp = properties.timestamp().and_then(since_epoch);
    let delivery = Delivery::new(token, message).with_topic(topic).published_at(timestamp);
    delivery.redelivered(redeliveries)
}

/// Publishers write seconds, as AMQP has it, or by mistake something else.
fn since_epoch(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Most messages have one of few.
fn media_type(read: &str) -> Cow<'static, str> {
    if read == JSON { Cow::Borrowed(JSON) } else { Cow::Owned(read.to_owned()) }
}

/// How often a quorum queue has delivered it before. A classic queue does not count.
fn counted(properties: &BasicProperties) -> Option<u32> {
    let headers = properties.headers().as_ref()?;
    match headers.inner().get("x-delivery-count")? {
        AMQPValue::LongLongInt(count) => u32::try_from(*count).ok(),
        AMQPValue::LongInt(count) => u32::try_from(*count).ok(),
        AMQPValue::LongUInt(count) => Some(*count),
        _ => None,
    }
}

/// What RabbitMQ keeps for itself. Others use names in `x-` too, and it carries these unread.
fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|it| name.starts_with(it))
}

/// A header as it is, or as text; `None` for what has none: tables, lists, nothing.
fn readable(value: &AMQPValue) -> Option<Value> {
    let text = match value {
        AMQPValue::LongString(text) => return Some(Value::from(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => return Some(Value::from(bytes.as_slice())),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Timestamp(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => return None,
    };
    Some(Value::from(text))
}

/// How much of a frame the headers take, at most. A content header cannot be split.
fn headers_size(message: &Message) -> usize {
    let request_id = message.headers().get(headers::REQUEST_ID).map_or(0, str::len);
    let size = |(name, value): (&str, &[u8])| match property::is_one(name) {
        true => value.len() + 1,
        false => name.len() + value.len() + 6,
    };
    request_id + pairs(message).map(size).sum::<usize>()
}

/// When it was published first, in seconds since 1970: now, unless it comes back.
fn timestamp(message: &Message) -> u64 {
    let first = message.headers().get(headers::TIMESTAMP).and_then(|it| it.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    first.map_or_else(|| now().map_or(0, |since| since.as_secs()), |millis| millis / 1000)
}
