//! Callbacks at the end, for who cannot wait.

use std::hint::black_box;

use downhaul_context::Context;

use crate::case::Case;
use crate::probe::Probe;
use crate::samples::Samples;

pub(super) fn cases() -> Vec<Case> {
    vec![Case::quoted("on_done, register and stop", (0.2, 233.0), register_and_stop)]
}

fn register_and_stop(probe: &Probe) -> Samples {
    let (parent, _canceller) = Context::root();
    let (child, _child_canceller) = parent.child();
    probe.alone(|lap| lap.run(|| assert!(black_box(&child).on_done(drop).stop())))
}
