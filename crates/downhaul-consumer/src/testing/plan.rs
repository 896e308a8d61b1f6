//! [`Plan`]: faults at random, the same for the same seed.

use std::time::Duration;

use fastrand::Rng;

use crate::testing::incident::Fault;

/// How long a delivery is held back or a call is slow, at most.
const LONGEST: Duration = Duration::from_millis(500);

/// Faults at random: each is drawn by the operation that it can happen to. In a runtime of one
/// thread with a paused clock, the same seed gives the same run.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::testing::{Fault, Plan};
///
/// // One delivery in twenty is doubled, and one batch of verdicts in ten is lost.
/// let plan = Plan::seeded(7).one_in(20, Fault::Duplicated).one_in(10, Fault::SettlementLost);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing until faults follow it"]
pub struct Plan {
    rng: Rng,
    rates: Vec<(Fault, u32)>,
}

impl Plan {
    /// A plan in which nothing goes wrong yet.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), rates: Vec::new() }
    }

    /// A plan in which everything goes wrong, each fault once in `rarity` operations.
    pub fn of_everything(seed: u64, rarity: u32) -> Self {
        let all =
            [Fault::OF_DELIVERIES, Fault::OF_SETTLEMENTS, Fault::OF_OPENINGS, Fault::OF_SENDS];
        let all = all.into_iter().flatten();
        all.fold(Self::seeded(seed), |plan, fault| plan.one_in(rarity, *fault))
    }

    /// Lets a fault happen once in so many operations on average; 0 for never.
    pub fn one_in(mut self, rarity: u32, fault: Fault) -> Self {
        self.rates.retain(|(known, _)| *known != fault);
        if rarity > 0 {
            self.rates.push((fault, rarity));
        }
        self
    }

    /// Draws for one operation: at most one fault of those that can happen to it.
    pub(super) fn draw(&mut self, possible: &[Fault]) -> Option<(Fault, Duration)> {
        let rng = &mut self.rng;
        let mut possible = self.rates.iter().filter(|(fault, _)| possible.contains(fault));
        let (fault, _) = possible.find(|(_, rarity)| rng.u32(0..*rarity) == 0)?;
        Some((*fault, LONGEST.mul_f64(self.rng.f64())))
    }
}
