//! Messages from a publisher to a handler and back to the broker as acknowledged, in memory and on
//! one core.
//!
//! Every side moves payloads of 256 bytes, each with memory of its own, to a handler behind a
//! pointer that is ready at once and reads the payload where it is.

mod end_to_end;
mod framework;
mod ours;
mod stall;
mod theirs;

use crate::case::Case;
use crate::lap::{Lap, Reading};

pub(crate) fn cases() -> Vec<Case> {
    [end_to_end::cases(), stall::cases()].concat()
}

/// The payload of each message.
const PAYLOAD: [u8; 256] = [7; 256];
/// How many messages a turn is: a queue is for streams, and caches that are cold each few hundred
/// messages are not what a stream has.
const STREAM: u32 = 1024;
/// How many messages a publisher sends before it lets others work.
const BURST: u32 = 256;

/// A stream a turn, each message from its making to its handler, after some that are not measured.
async fn carry(lap: &Lap<'_>, send: impl AsyncFn(u32)) -> Reading {
    send(2 * BURST).await;
    let messages = lap.turns * STREAM;
    lap.once_async(messages, async || send(messages).await).await
}
