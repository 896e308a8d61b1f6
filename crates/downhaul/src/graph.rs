//! [`Graph`]: who needs whom.

/// The parts of an app and their needs. A need names an earlier part, so there are no cycles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// Adds a part that needs others, and returns its index.
    pub(crate) fn add(&mut self, mut needs: Vec<usize>) -> usize {
        debug_assert!(needs.iter().all(|need| *need < self.needs.len()), "needs are earlier parts");
        needs.sort_unstable();
        needs.dedup();
        self.needs.push(needs);
        self.needs.len() - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.needs.len()
    }

    /// Those that must run before `part` can, in the order in which they were added.
    pub(crate) fn needs(&self, part: usize) -> &[usize] {
        &self.needs[part]
    }

    /// Those that must have stopped before `part` may.
    pub(crate) fn dependents(&self, part: usize) -> impl Iterator<Item = usize> {
        (part + 1..self.len()).filter(move |other| self.needs[*other].contains(&part))
    }

    /// The parts in steps: each needs only parts of earlier steps, and those of one step can start
    /// at the same time.
    pub(crate) fn steps(&self) -> Vec<Vec<usize>> {
        let mut steps: Vec<Vec<usize>> = Vec::new();
        let mut step_of: Vec<usize> = Vec::with_capacity(self.len());
        for (part, needs) in self.needs.iter().enumerate() {
            let step = needs.iter().map(|need| step_of[*need] + 1).max().unwrap_or_default();
            step_of.push(step);
            steps.resize_with(steps.len().max(step + 1), Vec::new);
            steps[step].push(part);
        }
        steps
    }

    /// A part and all that it needs, however far away, in the order in which they were added.
    pub(crate) fn all_needs(&self, part: usize) -> Vec<usize> {
        let mut found = vec![false; self.len()];
        found[part] = true;
        for other in (0..=part).rev() {
            if found[other] {
                self.needs[other].iter().for_each(|need| found[*need] = true);
            }
        }
        (0..=part).filter(|other| found[*other]).collect()
    }

    /// A part and all that need it, however far away, in the order in which they were added.
    pub(crate) fn all_dependents(&self, part: usize) -> Vec<usize> {
        (part..self.len()).filter(|other| self.all_needs(*other).contains(&part)).collect()
    }

    /// The way down the needs that weighs most, from the part that stops first, for each part as
    /// its first.
    pub(crate) fn heaviest<W>(&self, weight: impl Fn(usize) -> W) -> Vec<(W, Vec<usize>)>
    where
        W: Copy + Ord + std::ops::Add<Output = W>,
    {
        let mut best: Vec<(W, Vec<usize>)> = Vec::with_capacity(self.len());
        for part in 0..self.len() {
            let below = self.needs[part].iter().map(|need| &best[*need]).max_by_key(|(w, _)| *w);
            let (total, mut way) = match below {
                Some((below, way)) => (weight(part) + *below, way.clone()),
                None => (weight(part), Vec::new()),
            };
            way.insert(0, part);
            best.push((total, way));
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// broker ← orders ← inventory ← http, and http needs the broker too; metrics needs nobody.
    fn shop() -> Graph {
        let mut graph = Graph::default();
        let broker = graph.add(vec![]);
        let orders = graph.add(vec![broker]);
        let inventory = graph.add(vec![orders, broker]);
        graph.add(vec![inventory, broker]);
        graph.add(vec![]);
        graph
    }

    #[test]
    fn dependents_are_those_that_name_the_part() {
        assert_eq!(shop().dependents(0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(shop().dependents(2).collect::<Vec<_>>(), [3]);
        assert_eq!(shop().dependents(3).count(), 0);
    }

    #[test]
    fn a_step_needs_only_earlier_steps() {
        assert_eq!(shop().steps(), [vec![0, 4], vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn needs_and_dependents_are_followed_however_far() {
        assert_eq!(shop().all_needs(2), [0, 1, 2]);
        assert_eq!(shop().all_needs(4), [4]);
        assert_eq!(shop().all_dependents(1), [1, 2, 3]);
    }

    #[test]
    fn the_heaviest_way_goes_down_the_needs() {
        let weights = [1, 5, 1, 2, 9];
        let heaviest = shop().heaviest(|part| weights[part]);
        assert_eq!(heaviest[3], (9, vec![3, 2, 1, 0]));
        assert_eq!(heaviest[4], (9, vec![4]));
    }
}
