//! The messages that the engine publishes itself: parked retries and dead letters.

use std::time::SystemTime;

use tokio::time::Duration;

use crate::handler::Meta;
use crate::message::headers::{self, Headers};
use crate::message::{Message, Name};
use crate::publish::Outgoing;

/// The longest text that is written into a header of a dead letter, in bytes.
const LONGEST_TEXT: usize = 1024;

/// The message, to come back to its queue for its next attempt.
pub(super) fn parked(meta: &Meta, attempt: u32, delay: Duration) -> Outgoing {
    let mut message = with_origin(meta);
    message.headers_mut().set(headers::ATTEMPT, attempt.to_string());
    Outgoing::to_queue(meta.queue.clone(), message).after(delay).with_outcome_of(meta.token)
}

/// The message, to lie in the dead-letter queue with why and whence.
pub(super) fn dead(meta: &Meta, queue: &Name, reason: &str, error: Option<&str>) -> Outgoing {
    let mut message = with_origin(meta);
    let headers = message.headers_mut();
    headers.set(headers::DEAD_REASON, shortened(reason));
    headers.set(headers::ORIGIN_QUEUE, meta.queue.as_str());
    headers.set(headers::ATTEMPT, meta.attempt.to_string());
    if let Some(error) = error {
        headers.set(headers::DEAD_ERROR, shortened(error));
    }
    Outgoing::to_queue(queue.clone(), message).with_outcome_of(meta.token)
}

/// Writes down when the first attempt failed, unless that is known.
pub(super) fn note_failure(headers: &mut Headers) {
    if headers.get(headers::FIRST_FAILED).is_none() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        headers.set(headers::FIRST_FAILED, now.as_millis().to_string());
    }
}

/// What goes to a queue goes past its topic: a header keeps it.
fn with_origin(meta: &Meta) -> Message {
    let mut message = meta.message.clone();
    if let Some(topic) = meta.topic() {
        let topic = topic.to_owned();
        message.headers_mut().set(headers::TOPIC, topic);
    }
    message
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()
}
