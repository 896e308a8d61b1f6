//! All that a service has, against those who have less and as much.

use super::theirs::{axum, axum_full, hyper};
use super::wire::Wire;
use super::{compare, ours};
use crate::case::Case;
use crate::peers::{AXUM, AXUM_FULL, HYPER};
use crate::probe::Probe;
use crate::samples::Samples;

/// The goals are of a machine on which hyper takes 755 ns, axum 1,438 and all of axum 3,505: ours
/// should take 1,300.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("the whole", HYPER, 1.75, |probe| whole(probe, &hyper())).allocating(10),
        Case::ratio("the whole", AXUM, 1300.0 / 1438.0, |probe| whole(probe, &axum())),
        Case::ratio("the whole", AXUM_FULL, 0.40, |probe| whole(probe, &axum_full())),
    ]
}

fn whole(probe: &Probe, peer: &Wire) -> Samples {
    compare(probe, &ours::whole(), peer)
}
