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
    Consume {
        is_quorum: bool,
    },
    Publish {
        is_quorum: bool,
    },
    /// The same without asking whether a queue takes them, by those who can leave that out.
    PublishOptional {
        is_quorum: bool,
    },
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

/// A round: what it took each side that took part, in the order of `SIDES`.
type Round = [Option<Cost>; SIDES.len()];

/// What `side` and we took in each round, which are run once.
pub(super) fn rounds(work: Work, side: Side) -> impl Iterator<Item = (Cost, Cost)> {
    static ROUNDS_OF: [OnceLock<Vec<Round>>; 6] = [const { OnceLock::new() }; 6];
    let index = match work {
        Work::Consume { is_quorum } => usize::from(is_quorum),
        Work::Publish { is_quorum } => 2 + usize::from(is_quorum),
        Work::PublishOptional { is_quorum } => 4 + usize::from(is_quorum),
    };
    let rounds = ROUNDS_OF[index].get_or_init(|| work.run());
    let cost = |round: &Round, side| round[side as usize].expect("each side had its turn");
    rounds.iter().map(move |round| (cost(round, Side::Ours), cost(round, side)))
}

impl Work {
    /// Who goes first is another one each time: who comes later finds a warmer or a hotter machine.
    fn run(self) -> Vec<Round> {
        let sides = self.sides();
        let run = |round| {
            let mut costs = Round::default();
            for turn in 0..sides.len() {
                let side = sides[(round + turn) % sides.len()];
                costs[side as usize] = Some(self.by(side));
            }
            costs
        };
        (0..ROUNDS).map(run).collect()
    }

    fn sides(self) -> &'static [Side] {
        match self {
            Self::Consume { .. } | Self::Publish { .. } => &SIDES,
            Self::PublishOptional { .. } => &[Side::Ours, Side::Ruststream],
        }
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
            Self::Publish { is_quorum } | Self::PublishOptional { is_quorum } => {
                let place = site.place(is_quorum);
                let is_optional = matches!(self, Self::PublishOptional { .. });
                let cost = side.publish(site, place, is_optional);
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

    fn publish(self, site: &'static Site, place: &'static Place, is_optional: bool) -> Cost {
        match self {
            Self::Ours => ours::publish(site, place, is_optional),
            Self::OneByOne => loops::publish_one_by_one(site, place),
            Self::Lapin => loops::publish(site, place),
            Self::Ruststream => framework::publish(site, place),
        }
    }
}
