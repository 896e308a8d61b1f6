//! [`Fault`]: something that happens to links, to the broker or to consumers.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::proxy::{Cut, Direction};

/// Something that happens to links, to the broker or to consumers.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a site must say of each whether it can be made there")]
pub enum Fault {
    /// All links end.
    Cut(Cut),
    /// One ends after so many more bytes, which is nearly always within a frame.
    HalfFrame(Direction, u64),
    /// They fall silent.
    Blackhole(Direction, Duration),
    /// They are slow: all comes so much later.
    Delay(Direction, Duration, Duration),
    /// They are narrow: so many bytes a second.
    Throttle(Direction, NonZeroU32, Duration),
    /// They end, and there are no new ones for a while.
    Refuse(Duration),
    /// The broker's operator closes them.
    Close,
    /// They close one, counted in the broker's list.
    CloseOne(usize),
    /// The broker answers nothing for a while, and its links stay open.
    Freeze(Duration),
    /// The broker is killed, as in a power cut, and comes back on its data after a while.
    Kill(Duration),
    /// The broker is short of memory for a while.
    Alarm(Duration),
    /// Consumers take nothing for a while.
    Pause(Duration),
    /// One of the consumers that share a queue stops and begins anew.
    Restart(usize),
    /// One of them is cut short and begins anew: what its handlers were at is dropped.
    Abort(usize),
    /// One more joins them for a while.
    Join(Duration),
}

impl Fault {
    /// Its name in a table.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cut(_) => "Cut",
            Self::HalfFrame(..) => "HalfFrame",
            Self::Blackhole(..) => "Blackhole",
            Self::Delay(..) => "Delay",
            Self::Throttle(..) => "Throttle",
            Self::Refuse(_) => "Refuse",
            Self::Close => "Close",
            Self::CloseOne(_) => "CloseOne",
            Self::Freeze(_) => "Freeze",
            Self::Kill(_) => "Kill",
            Self::Alarm(_) => "Alarm",
            Self::Pause(_) => "Pause",
            Self::Restart(_) => "Restart",
            Self::Abort(_) => "Abort",
            Self::Join(_) => "Join",
        }
    }
}
