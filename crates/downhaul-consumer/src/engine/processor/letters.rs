//! The messages that the engine publishes itself: parked retries and dead letters.

use std::time::SystemTime;

use tokio::time::Duration;

use crate::handler::Meta;
use crate::message::headers;
use crate::message::{Message, Name};
use crate::publish::Outgoing;

/// How much is said of why a message is a dead letter, and whence it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    All,
    /// A short reason, where it was, and its attempts.
    Little,
    /// The message is as large as it can be.
    Nothing,
}

impl Said {
    pub(super) const LESS_AND_LESS: [Self; 3] = [Self::All, Self::Little, Self::Nothing];

    /// The longest text that is written into a header, in bytes.
    fn longest_text(self) -> usize {
        if self == Self::All { 1024 } else { 64 }
    }
}

/// The message, to come back to its queue for its next attempt.
pub(super) fn parked(meta: &Meta, attempt: u32, delay: Duration) -> Outgoing {
    let mut message = with_origin(meta);
    message.headers_mut().set(headers::ATTEMPT, attempt.to_string());
    Outgoing::to_queue(meta.queue().clone(), message).after(delay).with_outcome_of(meta.token)
}

/// The message, to lie in the dead-letter queue with why and whence.
pub(super) fn dead(
    meta: &Meta,
    queue: &Name,
    reason: &str,
    error: Option<&str>,
    said: Said,
) -> Outgoing {
    let mut message = if said == Said::All { with_origin(meta) } else { meta.message.clone() };
    let (headers, longest) = (message.headers_mut(), said.longest_text());
    if said != Said::All {
        headers.remove(headers::FIRST_FAILED);
    }
    if said != Said::Nothing {
        headers.set(headers::DEAD_REASON, shortened(reason, longest));
        headers.set(headers::ORIGIN_QUEUE, meta.queue().as_str());
        headers.set(headers::ATTEMPT, meta.attempt.to_string());
    }
    if let Some(error) = error.filter(|_| said == Said::All) {
        headers.set(headers::DEAD_ERROR, shortened(error, longest));
    }
    let letter = Outgoing::to_queue(queue.clone(), message).with_outcome_of(meta.token);
    Outgoing { is_complete: said == Said::Nothing, ..letter }
}

/// Writes down when the first attempt failed, unless that is known of an attempt before.
pub(super) fn note_failure(meta: &mut Meta) {
    let is_first = meta.attempt == 1 && meta.put_off == 0;
    let headers = meta.message.headers_mut();
    if is_first || headers.get(headers::FIRST_FAILED).is_none() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        headers.set(headers::FIRST_FAILED, now.as_millis().to_string());
    }
}

/// What goes to a queue goes past its topic: headers keep what is known of it.
fn with_origin(meta: &Meta) -> Message {
    let mut message = meta.message.clone();
    meta.origin.write(&mut message);
    message
}

fn shortened(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}
