//! [`Case`]: one line of a table, before it is measured.

use crate::peers::{GO, Peer};
use crate::probe::Probe;
use crate::samples::Samples;

/// What we want of one case; less is better.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this ratio of ours to the peer's time.
    Ratio(f64),
    /// At most this ratio of ours to a figure that is quoted, in nanoseconds.
    RatioToQuoted(f64, f64),
    /// At most so many nanoseconds, whatever the peer takes.
    Nanoseconds(f64),
    /// At most so many bytes in use.
    LiveBytes(f64),
    /// At most this ratio of ours to the peer's bytes in use.
    LiveRatio(f64),
}

impl Goal {
    /// Whether it is memory that counts, and not time.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::LiveBytes(_) | Self::LiveRatio(_))
    }
}

/// One operation, whom to compare with, what we want, and how to measure it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) peer: Peer,
    pub(crate) goal: Goal,
    /// At most so many allocations an operation.
    pub(crate) allocations: Option<f64>,
    pub(crate) threads: usize,
    pub(crate) measure: fn(&Probe) -> Samples,
}

impl Case {
    pub(crate) fn new(
        name: &'static str,
        peer: Peer,
        goal: Goal,
        measure: fn(&Probe) -> Samples,
    ) -> Self {
        Self { name, peer, goal, allocations: None, threads: 1, measure }
    }

    pub(crate) fn ratio(
        name: &'static str,
        peer: Peer,
        ratio: f64,
        measure: fn(&Probe) -> Samples,
    ) -> Self {
        Self::new(name, peer, Goal::Ratio(ratio), measure)
    }

    /// `ratio` of what Go is quoted to take.
    pub(crate) fn quoted(
        name: &'static str,
        (ratio, nanoseconds): (f64, f64),
        measure: fn(&Probe) -> Samples,
    ) -> Self {
        Self::new(name, GO, Goal::RatioToQuoted(ratio, nanoseconds), measure)
    }

    pub(crate) fn on_two_threads(self) -> Self {
        Self { threads: 2, ..self }
    }

    pub(crate) fn allocating(self, at_most: u8) -> Self {
        Self { allocations: Some(at_most.into()), ..self }
    }
}
