//! Random trees against a naive model: levels, causes and wakes are what the order of calls says.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use downhaul_context::{Canceller, CauseKind, Context, Level};
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Step {
    Derive { parent: Index },
    DeriveTimed { parent: Index, millis: u64 },
    Detach { node: Index },
    Merge { first: Index, second: Index },
    Cancel { node: Index },
    Drain { node: Index, millis: u64 },
    Disarm { node: Index },
    DropCanceller { node: Index },
    DropContext { node: Index },
    Wait { node: Index, level: Level },
    DropWaiter { waiter: Index },
    Advance { millis: u64 },
}

/// What the model knows of a node: everything, in milliseconds since the start, without links or
/// laziness.
#[derive(Default)]
struct Modelled {
    parent: Option<usize>,
    second_parent: Option<usize>,
    deadline: Option<u64>,
    drained: Option<(u64, u64)>,
    /// When, as which of all calls that ended a node, and why.
    told: Option<(u64, u64, CauseKind)>,
}

#[derive(Default)]
struct Model {
    nodes: Vec<Modelled>,
    now: u64,
    /// How many calls ended a node.
    ends: u64,
}

impl Model {
    /// The node and all its ancestors.
    fn lineage(&self, node: usize) -> impl Iterator<Item = &Modelled> {
        let mut numbers = BTreeSet::from([node]);
        // Parents are older, and so have smaller numbers.
        std::iter::from_fn(move || {
            let node = &self.nodes[numbers.pop_last()?];
            numbers.extend(node.parent);
            numbers.extend(node.second_parent);
            Some(node)
        })
    }

    /// The earliest end among all that can end the node, if it has come.
    fn end(&self, node: usize) -> Option<(u64, CauseKind)> {
        let ends = self.lineage(node).flat_map(|node| {
            let grace = node.drained.map(|(at, grace)| (at + grace, 0, CauseKind::DrainGraceOver));
            let deadline = node.deadline.map(|at| (at, 0, CauseKind::Deadline));
            [node.told, grace, deadline]
        });
        let first = ends.flatten().min_by_key(|(at, number, _)| (*at, *number));
        first.map(|(at, _, kind)| (at, kind)).filter(|(at, _)| *at <= self.now)
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

    /// Ends a node by its canceller. Returns whether it was live.
    fn tell(&mut self, node: usize, kind: CauseKind) -> bool {
        let live = self.end(node).is_none();
        if live {
            self.ends += 1;
            self.nodes[node].told = Some((self.now, self.ends, kind));
        }
        live
    }

    fn drain(&mut self, node: usize, millis: u64) {
        if self.end(node).is_none() {
            let (at, grace) = self.nodes[node].drained.unwrap_or((self.now, u64::MAX / 2));
            self.nodes[node].drained = Some((at, grace.min(self.now - at + millis)));
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let node = any::<Index>;
    // Calls at multiples of four, deadlines one later, graces three: no two kinds of end at one
    // moment.
    let at = |offset: u64| (0..100_u64).prop_map(move |n| 4 * n + offset);
    let level = prop_oneof![Just(Level::Draining), Just(Level::Done)];
    prop_oneof![
        6 => node().prop_map(|parent| Step::Derive { parent }),
        3 => (node(), at(1)).prop_map(|(parent, millis)| Step::DeriveTimed { parent, millis }),
        1 => node().prop_map(|node| Step::Detach { node }),
        2 => (node(), node()).prop_map(|(first, second)| Step::Merge { first, second }),
        2 => node().prop_map(|node| Step::Cancel { node }),
        2 => (node(), at(3)).prop_map(|(node, millis)| Step::Drain { node, millis }),
        1 => node().prop_map(|node| Step::Disarm { node }),
        1 => node().prop_map(|node| Step::DropCanceller { node }),
        2 => node().prop_map(|node| Step::DropContext { node }),
        6 => (node(), level).prop_map(|(node, level)| Step::Wait { node, level }),
        1 => node().prop_map(|waiter| Step::DropWaiter { waiter }),
        3 => (1..20_u64).prop_map(|n| Step::Advance { millis: 4 * n }),
    ]
}

/// Who waits on a node of the real tree, with a handle of its own.
struct Waiter {
    node: usize,
    level: Level,
    future: Pin<Box<dyn Future<Output = Option<CauseKind>>>>,
    woken: Arc<Flag>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Waiter {
    fn new(node: usize, ctx: Context, level: Level) -> Self {
        let future = async move {
            if level == Level::Done {
                return Some(ctx.done().await.kind());
            }
            ctx.draining().await;
            None
        };
        // Nobody has polled it: the first poll is due.
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        Self { node, level, future: Box::pin(future), woken }
    }

    /// Polls the future if its waker was run, as a task would. Returns whether it still waits.
    fn turn(&mut self, model: &Model) -> bool {
        let node = self.node;
        let reached = model.level(node) >= self.level;
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            assert!(!reached, "nobody woke who waits for {:?} of node {node}", self.level);
            return true;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Pending => assert!(!reached, "node {node} is {:?}, but pending", self.level),
            Poll::Ready(None) => assert!(reached, "node {node} is not draining"),
            Poll::Ready(kind) => assert_eq!(kind, model.end(node).map(|(_, kind)| kind)),
        }
        !reached
    }
}

/// The real tree and the model side by side.
struct Pair {
    model: Model,
    contexts: Vec<Option<Context>>,
    cancellers: Vec<Option<Canceller>>,
    waiters: Vec<Waiter>,
}

impl Pair {
    fn new() -> Self {
        let model = Model { nodes: vec![Modelled::default()], now: 0, ends: 0 };
        let (ctx, canceller) = Context::root();
        let (contexts, cancellers) = (vec![Some(ctx)], vec![Some(canceller)]);
        Self { model, contexts, cancellers, waiters: Vec::new() }
    }

    fn add(&mut self, modelled: Modelled, ctx: Context, canceller: Option<Canceller>) {
        self.model.nodes.push(modelled);
        self.contexts.push(Some(ctx));
        self.cancellers.push(canceller);
    }

    fn derive(&mut self, parent: usize, millis: Option<u64>) {
        let Some(ctx) = &self.contexts[parent] else { return };
        let (child, canceller) =
            millis.map_or_else(|| ctx.child(), |ms| ctx.with_timeout(Duration::from_millis(ms)));
        let deadline = millis.map(|millis| self.model.now + millis);
        let modelled = Modelled { parent: Some(parent), deadline, ..Modelled::default() };
        self.add(modelled, child, Some(canceller));
    }

    fn merge(&mut self, first: usize, second: usize) {
        let (Some(ctx), Some(other)) = (&self.contexts[first], &self.contexts[second]) else {
            return;
        };
        // Which of two ends counts that came before there was a node is nobody's promise.
        if self.model.end(first).is_some() && self.model.end(second).is_some() {
            return;
        }
        let (child, canceller) = ctx.merged(other);
        let (parent, second_parent) = (Some(first), Some(second));
        let modelled = Modelled { parent, second_parent, ..Modelled::default() };
        self.add(modelled, child, Some(canceller));
    }

    async fn apply(&mut self, step: Step) {
        let len = self.model.nodes.len();
        match step {
            Step::Derive { parent } => self.derive(parent.index(len), None),
            Step::DeriveTimed { parent, millis } => self.derive(parent.index(len), Some(millis)),
            Step::Detach { node } => {
                if let Some(ctx) = &self.contexts[node.index(len)] {
                    let detached = ctx.detached();
                    self.add(Modelled::default(), detached, None);
                }
            }
            Step::Merge { first, second } => self.merge(first.index(len), second.index(len)),
            Step::DropContext { node } => self.contexts[node.index(len)] = None,
            Step::Wait { node, level } => {
                let node = node.index(len);
                let ctx = self.contexts[node].clone();
                self.waiters.extend(ctx.map(|ctx| Waiter::new(node, ctx, level)));
            }
            Step::DropWaiter { waiter } if !self.waiters.is_empty() => {
                self.waiters.swap_remove(waiter.index(self.waiters.len()));
            }
            Step::DropWaiter { .. } => {}
            Step::Advance { millis } => {
                self.model.now += millis;
                tokio::time::advance(Duration::from_millis(millis)).await;
            }
            Step::Cancel { node }
            | Step::Drain { node, .. }
            | Step::Disarm { node }
            | Step::DropCanceller { node } => self.tell(node.index(len), &step),
        }
    }

    /// What takes a canceller, if the node has one still.
    fn tell(&mut self, node: usize, step: &Step) {
        let Some(canceller) = self.cancellers[node].take() else { return };
        match *step {
            Step::Disarm { .. } => return canceller.disarm(),
            Step::DropCanceller { .. } => {
                self.model.tell(node, CauseKind::Dropped);
                return drop(canceller);
            }
            Step::Drain { millis, .. } => {
                canceller.drain(Duration::from_millis(millis));
                self.model.drain(node, millis);
            }
            _ => assert_eq!(canceller.cancel(), self.model.tell(node, CauseKind::Cancelled)),
        }
        self.cancellers[node] = Some(canceller);
    }

    fn turn(&mut self) {
        self.waiters.retain_mut(|waiter| waiter.turn(&self.model));
    }

    fn check(&self, node: usize) {
        let (Some(ctx), model) = (&self.contexts[node], &self.model) else { return };
        assert_eq!(ctx.level(), model.level(node), "level of node {node}");
        assert_eq!(ctx.is_done(), model.end(node).is_some(), "end of node {node}");
        let kind = ctx.cause().map(|cause| cause.kind());
        assert_eq!(kind, model.end(node).map(|(_, kind)| kind), "cause of node {node}");
    }
}

// A case takes Miri some seconds.
const CASES: u32 = if cfg!(miri) { 4 } else { 600 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn levels_causes_and_wakes_are_the_models(steps in prop::collection::vec(step(), 1..80)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.apply(step).await;
                pair.turn();
                // Only some nodes are looked at after each step: most ends are found late, and must
                // still be right.
                pair.check(pair.contexts.len() / 2);
            }
            (0..pair.contexts.len()).for_each(|node| pair.check(node));
        });
    }
}
