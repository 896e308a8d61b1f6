//! How the grace is shared among those who stop one after another.

use std::time::Duration;

use crate::graph::Graph;

/// The share of `left` that `part` may use: all but a tenth of `total` for each step after it, or
/// but an equal part where there is not so much left.
///
/// Those who stop early are those with work in hand, and those after them mostly have little to do
/// once the work has stopped coming. What one does not use is there for the next.
pub(crate) fn share(graph: &Graph, part: usize, left: Duration, total: Duration) -> Duration {
    let steps = graph.heaviest(|_| 1_u32)[part].0;
    let kept = (total / 10).min(left / steps);
    left - kept * (steps - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: Duration = Duration::from_secs(30);

    /// broker ← orders ← inventory ← http, and http needs the broker too.
    fn chain() -> Graph {
        let mut graph = Graph::default();
        let broker = graph.add(vec![]);
        let orders = graph.add(vec![broker]);
        let inventory = graph.add(vec![orders, broker]);
        graph.add(vec![inventory, broker]);
        graph
    }

    #[test]
    fn a_part_gets_all_but_a_tenth_for_each_step_after_it() {
        assert_eq!(share(&chain(), 3, TOTAL, TOTAL), TOTAL * 7 / 10);
        assert_eq!(share(&chain(), 0, TOTAL, TOTAL), TOTAL);
    }

    #[test]
    fn where_little_is_left_the_steps_get_equal_parts() {
        let left = TOTAL / 10;
        assert_eq!(share(&chain(), 3, left, TOTAL), left / 4);
    }

    #[test]
    fn all_shares_used_in_full_make_the_total() {
        let graph = chain();
        let used = (0..4)
            .rev()
            .fold(Duration::ZERO, |used, part| used + share(&graph, part, TOTAL - used, TOTAL));
        assert_eq!(used, TOTAL);
    }
}
