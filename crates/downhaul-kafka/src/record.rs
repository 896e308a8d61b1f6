//! [`Record`]: a message as Kafka carries it, and back.
//!
//! The key is Kafka's own. The id, the media type and all headers are headers of the record.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use downhaul_consumer::headers::name_of;
use downhaul_consumer::{BrokerError, Message, Outgoing};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;

use crate::error::unsendable;
use crate::own::DUE;

/// The id of a message.
const ID: &str = "message-id";
/// As CloudEvents calls it on Kafka.
const CONTENT_TYPE: &str = "content-type";
/// What a record is whose media type is not said.
const BYTES: &str = "application/octet-stream";
/// What marks a record without a value: in a compacted topic, the end of its key.
pub const TOMBSTONE: &str = "tombstone";

/// Headers of records that say something else than headers of messages do. Those of a message that
/// are called so are not sent.
const OURS: [&str; 4] = [ID, CONTENT_TYPE, DUE, TOMBSTONE];

/// What was read of a partition.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) message: Message,
    /// Set by its producer, or by the broker when it was appended.
    pub(crate) timestamp: Option<SystemTime>,
    /// When it may be delivered, if not at once.
    pub(crate) due: Option<SystemTime>,
    /// It has an id, as all of ours have.
    pub(crate) is_ours: bool,
}

impl Record {
    /// Reads a record, also of publishers that know nothing of Downhaul.
    ///
    /// A record without an id gets one of its place, which is the same at each delivery. A key and
    /// headers that are no text are kept as they came, an id is written as one, and a header whose
    /// name is none is left out.
    pub(crate) fn read(record: &BorrowedMessage<'_>) -> Self {
        let payload = record.payload();
        let mut message = Message::identified(id(record), copied(payload));
        let (mut content_type, mut due, mut is_ours) = (None, None, false);
        message.headers_mut().extend(legible(record).filter_map(|header| {
            match header.key {
                ID => is_ours = header.value.is_some_and(|id| !id.is_empty()),
                CONTENT_TYPE => content_type = Some(media_type(&header)),
                DUE => due = text(&header).parse().ok().and_then(since_epoch),
                name => return Some((name_of(name), header.value.unwrap_or_default())),
            }
            None
        }));
        if let Some(content_type) = content_type {
            message = message.with_content_type(content_type);
        }
        if payload.is_none() {
            message.headers_mut().set(TOMBSTONE, "true");
        }
        if let Some(key) = record.key() {
            message = message.with_key_bytes(key);
        }
        Self { offset: record.offset(), message, timestamp: timestamp(record), due, is_ours }
    }
}

fn timestamp(record: &BorrowedMessage<'_>) -> Option<SystemTime> {
    record.timestamp().to_millis()?.try_into().ok().and_then(since_epoch)
}

fn copied(payload: Option<&[u8]>) -> Bytes {
    payload.map_or_else(Bytes::new, Bytes::copy_from_slice)
}

fn id<'a>(record: &'a BorrowedMessage<'_>) -> Cow<'a, str> {
    let id = legible(record).find(|header| header.key == ID).and_then(|header| header.value);
    match id.filter(|id| !id.is_empty()) {
        // Two that are no text must not become the same text.
        Some(id) => {
            str::from_utf8(id).map_or_else(|_| id.escape_ascii().to_string().into(), Cow::Borrowed)
        }
        None => {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            format!("{topic}-{partition}-{offset}").into()
        }
    }
}

/// The headers that can be read: rdkafka panics over a name that is no UTF-8, as clients in C can
/// write it. That record would bring down whoever reads its partition, again and again.
fn legible<'a>(record: &'a BorrowedMessage<'_>) -> impl Iterator<Item = Header<'a, &'a [u8]>> {
    record.headers().into_iter().flat_map(|headers| {
        let read = move |index| catch_unwind(AssertUnwindSafe(|| headers.try_get(index)));
        (0..headers.count()).filter_map(move |index| read(index).ok()?)
    })
}

fn text(header: &Header<'_, &[u8]>) -> String {
    readable(header.value.unwrap_or_default()).into_owned()
}

/// As text, as far as it is. Nearly everything is, and to look for what is not takes twice as long.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Most messages have one of few.
fn media_type(header: &Header<'_, &[u8]>) -> Cow<'static, str> {
    match header.value.unwrap_or_default() {
        b"application/json" => Cow::Borrowed("application/json"),
        _ => Cow::Owned(text(header)),
    }
}

/// The headers of a record.
///
/// # Errors
///
/// The message is at fault: the name of a header holds a NUL, which would panic further down, or
/// its delay ends after all times that can be said.
pub(crate) fn headers(outgoing: &Outgoing) -> Result<OwnedHeaders, BrokerError> {
    let message = &outgoing.message;
    let count = message.headers().iter().count() + 3;
    let mut headers = OwnedHeaders::new_with_capacity(count).insert(header(ID, message.id()));
    if message.content_type() != BYTES {
        headers = headers.insert(header(CONTENT_TYPE, message.content_type()));
    }
    for (name, value) in message.headers().iter().filter(|(name, _)| !OURS.contains(name)) {
        if name.contains('\0') {
            return Err(unsendable(format!("the name of the header {name:?} holds a NUL")));
        }
        headers = headers.insert(header(name, value));
    }
    if !outgoing.delay.is_zero() {
        let due = due_in(outgoing.delay).ok_or_else(|| {
            unsendable(format!("a delay of {:?} is beyond all time", outgoing.delay))
        })?;
        headers = headers.insert(header(DUE, &due.to_string()));
    }
    Ok(headers)
}

/// A message as it is handed over, with what comes back with the answer.
pub(crate) fn outgoing_record<'a, T: IntoOpaque>(
    topic: &'a str,
    message: &'a Message,
    headers: OwnedHeaders,
    label: T,
) -> BaseRecord<'a, [u8], [u8], T> {
    let mut record = BaseRecord::with_opaque_to(topic, label).headers(headers);
    record.payload = payload(message);
    record.key = message.key_bytes();
    record
}

/// The value; `None` for one that ends its key.
fn payload(message: &Message) -> Option<&[u8]> {
    let ends_key = message.payload().is_empty() && message.headers().get(TOMBSTONE).is_some();
    (!ends_key).then_some(message.payload())
}

fn header<'a>(key: &'a str, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Header<'a, &'a [u8]> {
    Header { key, value: Some(value.as_ref()) }
}

/// The time in so long, in milliseconds since 1970. Rounded up, so that it is never early.
fn due_in(delay: Duration) -> Option<u64> {
    let due = SystemTime::now().checked_add(delay)?;
    let millis = due.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(millis + 1).ok()
}

fn since_epoch(millis: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}
