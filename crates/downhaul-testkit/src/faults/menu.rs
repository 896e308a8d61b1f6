//! [`Menu`]: which faults a round has, in which order and how bad: all of it follows from a seed.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use super::fault::Fault;
use crate::proxy::{Cut, Direction};

/// How many of the quick ones a round has besides.
const MORE: usize = 8;

/// Draws a fault of a kind.
pub type Draw = fn(&mut Rng) -> Fault;

/// The faults that can be made at a site.
#[derive(Clone, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "sites write it down")]
pub struct Menu {
    /// Each of them comes once a round.
    pub each: Vec<Draw>,
    /// Some more of them come, too.
    pub quick: Vec<Draw>,
    /// Kinds that cannot be made here, and why. It is printed.
    pub missing: Vec<(&'static str, String)>,
}

impl Menu {
    /// The faults of a round: the same for the same seed.
    pub(super) fn plan(&self, rng: &mut Rng) -> Vec<Fault> {
        let mut faults: Vec<_> = self.each.iter().map(|draw| draw(rng)).collect();
        let count = u8::try_from(self.quick.len()).expect("few kinds of faults");
        let quick = (0..MORE).take_while(|_| count > 0);
        faults.extend(quick.map(|_| self.quick[usize::from(rng.u8(..count))](rng)));
        rng.shuffle(&mut faults);
        faults
    }
}

/// What happens to links anywhere. A site adds how long it takes one to count as lost.
pub fn links() -> Vec<Draw> {
    let mut links = cuts();
    links.extend([
        (|rng| Fault::Blackhole(direction(rng), millis(rng, 200..900))) as Draw,
        |rng| Fault::Delay(direction(rng), millis(rng, 50..400), millis(rng, 500..1_500)),
        |rng| Fault::Throttle(direction(rng), rate(rng), millis(rng, 500..1_500)),
        |rng| Fault::Refuse(millis(rng, 200..1_200)),
    ]);
    links
}

/// The ends of a link, which take no time. Half a frame comes amid a publish and amid a delivery.
pub fn cuts() -> Vec<Draw> {
    vec![
        |_| Fault::Cut(Cut::Finish),
        |_| Fault::Cut(Cut::Reset),
        |rng| half_frame(rng, Direction::ToUpstream),
        |rng| half_frame(rng, Direction::ToClient),
    ]
}

/// The end of a link after up to 20,000 more bytes.
fn half_frame(rng: &mut Rng, direction: Direction) -> Fault {
    Fault::HalfFrame(direction, rng.u64(1..20_000))
}

/// One way, the other, or both.
pub fn direction(rng: &mut Rng) -> Direction {
    [Direction::ToUpstream, Direction::ToClient, Direction::Both][rng.usize(..3)]
}

/// So few bytes a second that messages of some size take a while.
fn rate(rng: &mut Rng) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(rng.u32(5_000..50_000))
}

/// A time.
pub fn millis(rng: &mut Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu() -> Menu {
        Menu {
            each: vec![|rng| Fault::Kill(millis(rng, 0..9)), |_| Fault::Close],
            quick: vec![|_| Fault::Cut(Cut::Reset), |rng| Fault::Restart(rng.usize(..100))],
            missing: Vec::new(),
        }
    }

    fn plan(seed: u64) -> String {
        format!("{:?}", menu().plan(&mut Rng::with_seed(seed)))
    }

    #[test]
    fn a_round_has_each_fault_once_and_some_quick_ones_in_an_order_that_follows_from_the_seed() {
        let faults = menu().plan(&mut Rng::with_seed(1));
        let count = |kind: &str| faults.iter().filter(|fault| fault.kind() == kind).count();
        assert_eq!((count("Kill"), count("Close")), (1, 1));
        assert_eq!((count("Cut") + count("Restart"), faults.len()), (MORE, 2 + MORE));
        assert_eq!(plan(1), plan(1));
        assert!((2..9).any(|seed| plan(seed) != plan(1)));
    }

    #[test]
    fn a_menu_without_quick_ones_is_served_as_well() {
        let menu = Menu { quick: Vec::new(), ..menu() };
        assert_eq!(menu.plan(&mut Rng::with_seed(1)).len(), 2);
    }
}
