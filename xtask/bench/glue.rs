//! What an app adds to what is in it: to a request, and to a stop.
//!
//! What a process sees of its requests is set up once, as in a `main`. So each side has processes
//! of its own, which serve themselves in memory and take their own time, round by round when they
//! are told.

pub(crate) mod collector;
pub(crate) mod served;
mod side;
mod stop;

use self::side::Side;
pub(crate) use self::side::asked;
use crate::case::Case;
use crate::peers::{AXUM_TRACED, BARE};
use crate::probe::Probe;
use crate::samples::Samples;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::ratio("a request, nobody looks", BARE, 1.02, |probe| {
            compare(probe, Side::App, Side::Server)
        }),
        Case::ratio("a request, 1 % of spans", BARE, 1.05, |probe| {
            compare(probe, Side::AppTraced, Side::Server)
        }),
        Case::ratio("the same, made only if kept", BARE, 1.05, |probe| {
            compare(probe, Side::AppSampled, Side::Server)
        }),
        Case::ratio("a request, 1 % of spans", AXUM_TRACED, 0.5, |probe| {
            compare(probe, Side::AppTraced, Side::AxumTraced)
        }),
    ];
    cases.extend(stop::cases());
    cases
}

fn compare(probe: &Probe, ours: Side, peer: Side) -> Samples {
    let (ours, peer) = (ours.start(), peer.start());
    probe.compare(|lap| ours.ask(lap), |lap| peer.ask(lap))
}
