//! Who does what, and what it took each of them, round by round.

use std::sync::OnceLock;

use super::cost::Cost;
use super::site::{Place, Site};
use super::{PREFETCH, framework, loops, ours};

/// Odd, so that there is a middle.
const ROUNDS: usize = 9;

/// What is done, with which queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Consume { is_quorum: bool },
    Publish { is_quorum: bool },
}

/// Who does it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Ours,
    OneByOne,
    Lapin,
    Ruststream,
}

const SIDES: [Side; 4] = [Side::Ours, Side::OneByOne, Side::Lapin, Side::Ruststream];

/// A round: what it took each side, in the order of `SIDES`.
type Round = [Cost; SIDES.len()];

/// What `side` and we took in each round, which are run once.
pub(super) fn rounds(work: Work, side: Side) -> impl Iterator<Item = (Cost, Cost)> {
    static ROUNDS_OF: [OnceLock<Vec<Round>>; 4] = [const { OnceLock::new() }; 4];
    let index = match work {
        Work::Consume { is_quorum } => usize::from(is_quorum),
        Work::Publish { is_quorum } => 2 + usize::from(is_quorum),
    };
    let rounds = ROUNDS_OF[index].get_or_init(|| work.run());
    rounds.iter().map(move |round| (round[Side::Ours as usize], round[side as usize]))
}

impl Work {
    /// Who goes first is another one each time: who comes later finds a warmer or a hotter machine.
    fn run(self) -> Vec<Round> {
        (0..ROUNDS)
            .map(|round| {
                let mut costs = [None; SIDES.len()];
                for turn in 0..SIDES.len() {
                    let index = (round + turn) % SIDES.len();
                    costs[index] = Some(self.by(SIDES[index]));
                }
                costs.map(|cost| cost.expect("each side had its turn"))
            })
            .collect()
    }

    fn by(self, side: Side) -> Cost {
        let site = Site::get();
        match self {
            Self::Consume { is_quorum } => {
                let place = site.place(is_quorum);
                site.fill(place);
                let cost = side.consume(site, place);
                // What a channel has not passed on to a quorum queue when it is closed comes again.
                assert!(site.purge(place) <= PREFETCH.into(), "{side:?} has left messages");
                cost
            }
            Self::Publish { is_quorum } => {
                let place = site.place(is_quorum);
                let cost = side.publish(site, place);
                site.purge(place);
                cost
            }
        }
    }
}

impl Side {
    fn consume(self, site: &'static Site, place: &'static Place) -> Cost {
        match self {
            Self::Ours => ours::consume(site, place),
            Self::OneByOne => loops::consume_one_by_one(site, place),
            Self::Lapin => loops::consume(site, place),
            Self::Ruststream => framework::consume(site, place),
        }
    }

    fn publish(self, site: &'static Site, place: &'static Place) -> Cost {
        match self {
            Self::Ours => ours::publish(site, place),
            Self::OneByOne => loops::publish_one_by_one(site, place),
            Self::Lapin => loops::publish(site, place),
            Self::Ruststream => framework::publish(site, place),
        }
    }
}
