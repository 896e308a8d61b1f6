//! Random trees against a naive model: levels and causes are what the order of calls says.

use std::time::Duration;

use downhaul_context::{Canceller, CauseKind, Context, Level};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Derive { parent: prop::sample::Index },
    DeriveTimed { parent: prop::sample::Index, millis: u64 },
    Cancel { node: prop::sample::Index },
    Drain { node: prop::sample::Index, millis: u64 },
    Advance { millis: u64 },
}

/// What the model knows of a node: everything, in milliseconds since the start, without links or
/// laziness.
struct Modelled {
    parent: Option<usize>,
    deadline: Option<u64>,
    drained: Option<(u64, u64)>,
    cancelled: Option<u64>,
}

#[derive(Default)]
struct Model {
    nodes: Vec<Modelled>,
    now: u64,
}

impl Model {
    fn lineage(&self, node: usize) -> impl Iterator<Item = &Modelled> {
        std::iter::successors(Some(&self.nodes[node]), |node| node.parent.map(|up| &self.nodes[up]))
    }

    /// The earliest end among all that can end the node, if it has come.
    fn end(&self, node: usize) -> Option<(u64, CauseKind)> {
        let ends = self.lineage(node).flat_map(|node| {
            let grace = node.drained.map(|(at, grace)| (at + grace, CauseKind::DrainGraceOver));
            let deadline = node.deadline.map(|at| (at, CauseKind::Deadline));
            [node.cancelled.map(|at| (at, CauseKind::Cancelled)), grace, deadline]
        });
        ends.flatten().filter(|(at, _)| *at <= self.now).min_by_key(|(at, _)| *at)
    }

    fn level(&self, node: usize) -> Level {
        if self.end(node).is_some() {
            Level::Done
        } else if self.lineage(node).any(|node| node.drained.is_some()) {
            Level::Draining
        } else {
            Level::Live
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let node = any::<prop::sample::Index>;
    // Calls at multiples of four, deadlines one later, graces three: no two kinds of end at one
    // moment.
    let at = |offset: u64| (0..100_u64).prop_map(move |n| 4 * n + offset);
    prop_oneof![
        3 => node().prop_map(|parent| Step::Derive { parent }),
        2 => (node(), at(1)).prop_map(|(parent, millis)| Step::DeriveTimed { parent, millis }),
        1 => node().prop_map(|node| Step::Cancel { node }),
        1 => (node(), at(3)).prop_map(|(node, millis)| Step::Drain { node, millis }),
        2 => (1..20_u64).prop_map(|n| Step::Advance { millis: 4 * n }),
    ]
}

/// The real tree and the model side by side.
struct Pair {
    model: Model,
    real: Vec<(Context, Canceller)>,
}

impl Pair {
    fn new() -> Self {
        let root = Modelled { parent: None, deadline: None, drained: None, cancelled: None };
        let model = Model { nodes: vec![root], now: 0 };
        Self { model, real: vec![Context::root()] }
    }

    fn derive(&mut self, parent: usize, millis: Option<u64>) {
        let ctx = &self.real[parent].0;
        let child =
            millis.map_or_else(|| ctx.child(), |ms| ctx.with_timeout(Duration::from_millis(ms)));
        self.real.push(child);
        let deadline = millis.map(|millis| self.model.now + millis);
        let parent = Some(parent);
        self.model.nodes.push(Modelled { parent, deadline, drained: None, cancelled: None });
    }

    async fn apply(&mut self, step: Step) {
        let (now, len) = (self.model.now, self.real.len());
        match step {
            Step::Derive { parent } => self.derive(parent.index(len), None),
            Step::DeriveTimed { parent, millis } => self.derive(parent.index(len), Some(millis)),
            Step::Cancel { node } => {
                let node = node.index(len);
                let was_live = self.model.end(node).is_none();
                assert_eq!(self.real[node].1.cancel(), was_live);
                self.model.nodes[node].cancelled.get_or_insert(now);
            }
            Step::Drain { node, millis } => {
                let node = node.index(len);
                self.real[node].1.drain(Duration::from_millis(millis));
                if self.model.end(node).is_none() {
                    let (at, grace) = self.model.nodes[node].drained.unwrap_or((now, u64::MAX / 2));
                    self.model.nodes[node].drained = Some((at, grace.min(now - at + millis)));
                }
            }
            Step::Advance { millis } => {
                tokio::time::advance(Duration::from_millis(millis)).await;
                self.model.now += millis;
            }
        }
    }

    fn check(&self, node: usize) {
        let (ctx, model) = (&self.real[node].0, &self.model);
        assert_eq!(ctx.level(), model.level(node), "level of node {node}");
        let kind = ctx.cause().map(|cause| cause.kind());
        assert_eq!(kind, model.end(node).map(|(_, kind)| kind), "cause of node {node}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn levels_and_causes_are_the_models(steps in prop::collection::vec(step(), 1..60)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.apply(step).await;
                // Only some nodes are looked at after each step: most ends are found late, and must
                // still be right.
                pair.check(pair.real.len() / 2);
            }
            (0..pair.real.len()).for_each(|node| pair.check(node));
        });
    }
}
