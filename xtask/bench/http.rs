//! Requests over a connection in memory, one after another: what a server costs without a kernel.
//!
//! Every side answers `GET /users/7` with the same small JSON, and `POST /users` with what it was
//! sent.

mod idle;
mod layers;
pub(crate) mod ours;
mod tcp;
pub(crate) mod theirs;
mod waits;
mod whole;
pub(crate) mod wire;

use std::borrow::Cow;

pub use self::tcp::serve;
use self::wire::Wire;
use crate::case::Case;
use crate::probe::Probe;
use crate::samples::Samples;

pub(crate) fn cases() -> Vec<Case> {
    let groups: [fn() -> Vec<Case>; 4] = [layers::cases, whole::cases, waits::cases, idle::cases];
    groups.into_iter().flat_map(|group| group()).collect()
}

fn compare(probe: &Probe, ours: &Wire, peer: &Wire) -> Samples {
    probe.compare(|lap| ours.ask(lap), |lap| peer.ask(lap))
}

/// What everybody answers with.
#[derive(serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
    name: Cow<'static, str>,
}

impl User {
    fn find(id: u64) -> Self {
        Self { id, name: Cow::Borrowed("ada") }
    }
}
