//! Who needs whom, and how a total budget is shared among those who stop one after another.

use std::time::Duration;

/// The parts of an app and their needs. A need names an earlier part, so there are no cycles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    needs: Vec<Vec<usize>>,
}

impl Plan {
    /// Adds a part that needs others, and returns its index.
    pub(crate) fn add(&mut self, needs: Vec<usize>) -> usize {
        debug_assert!(needs.iter().all(|need| *need < self.needs.len()), "needs are earlier parts");
        self.needs.push(needs);
        self.needs.len() - 1
    }

    /// Those that must have stopped before `part` may.
    pub(crate) fn dependents(&self, part: usize) -> Vec<usize> {
        (0..self.needs.len()).filter(|other| self.needs[*other].contains(&part)).collect()
    }

    /// How many parts stop one after another from `part` on, itself included: the longest way down
    /// its needs.
    fn steps(&self, part: usize) -> u32 {
        // Needs are earlier parts, so this ends. An app has tens of parts: no need to remember.
        1 + self.needs[part].iter().map(|need| self.steps(*need)).max().unwrap_or_default()
    }

    /// The share of `left` that `part` may use: all but a tenth of `total` for each step after it,
    /// or but an equal part where there is not so much left.
    ///
    /// Those who stop early are those with work in hand, and those after them mostly have little to
    /// do once the work has stopped coming. What one does not use is there for the next.
    pub(crate) fn share(&self, part: usize, left: Duration, total: Duration) -> Duration {
        let steps = self.steps(part);
        let kept = (total / 10).min(left / steps);
        left - kept * (steps - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: Duration = Duration::from_secs(30);

    /// broker ← orders ← inventory ← http, and http needs the broker too.
    fn chain() -> Plan {
        let mut plan = Plan::default();
        let broker = plan.add(vec![]);
        let orders = plan.add(vec![broker]);
        let inventory = plan.add(vec![orders, broker]);
        plan.add(vec![inventory, broker]);
        plan
    }

    #[test]
    fn a_part_stops_after_all_that_need_it() {
        assert_eq!(chain().dependents(0), [1, 2, 3]);
        assert_eq!(chain().dependents(2), [3]);
        assert!(chain().dependents(3).is_empty());
    }

    #[test]
    fn a_part_gets_all_but_a_tenth_for_each_step_after_it() {
        assert_eq!(chain().share(3, TOTAL, TOTAL), TOTAL * 7 / 10);
        assert_eq!(chain().share(0, TOTAL, TOTAL), TOTAL);
    }

    #[test]
    fn where_little_is_left_the_steps_get_equal_parts() {
        let left = TOTAL / 10;
        assert_eq!(chain().share(3, left, TOTAL), left / 4);
    }

    #[test]
    fn all_shares_used_in_full_make_the_total() {
        let plan = chain();
        let used = (0..4)
            .rev()
            .fold(Duration::ZERO, |used, part| used + plan.share(part, TOTAL - used, TOTAL));
        assert_eq!(used, TOTAL);
    }
}
