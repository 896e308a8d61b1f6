//! A message from its publisher to its acknowledgement.

use super::framework::Framework;
use super::ours::Line;
use super::theirs::Channel;
use crate::case::{Case, Goal};
use crate::peers::{CHANNEL, RUSTSTREAM_MEMORY, UNKEYED};
use crate::probe::Probe;
use crate::samples::Samples;

/// A million a second, with one allocation each beyond the payload. A channel promises nothing of
/// what a broker does: twice its time is the goal.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a message, one at a time", CHANNEL, Goal::Ratio(2.0), |probe| {
            against_channel(probe, 1)
        })
        .allocating(2),
        Case::new("a million a second", CHANNEL, Goal::Nanoseconds(1000.0), |probe| {
            against_channel(probe, 1)
        }),
        Case::new("a message, 64 at a time", CHANNEL, Goal::Ratio(2.0), |probe| {
            against_channel(probe, 64)
        })
        .allocating(2),
        Case::ratio("a message, one at a time", RUSTSTREAM_MEMORY, 1.0, |probe| {
            against_framework(probe, 1)
        }),
        Case::ratio("a message, 64 at a time", RUSTSTREAM_MEMORY, 1.0, |probe| {
            against_framework(probe, 64)
        }),
        Case::ratio("in order of 10,000 keys", UNKEYED, 2.0, |probe| {
            let (keyed, free) = (Line::new(64, 10_000), Line::new(64, 0));
            probe.compare(|lap| keyed.carry(lap), |lap| free.carry(lap))
        }),
    ]
}

fn against_framework(probe: &Probe, concurrency: u16) -> Samples {
    let (ours, framework) = (Line::new(concurrency, 0), Framework::new(concurrency));
    probe.compare(|lap| ours.carry(lap), |lap| framework.carry(lap))
}

fn against_channel(probe: &Probe, concurrency: u16) -> Samples {
    let (ours, channel) = (Line::new(concurrency, 0), Channel::new());
    probe.compare(|lap| ours.carry(lap), |lap| channel.carry(lap))
}
