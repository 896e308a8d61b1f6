//! Go's `TestLayersCancel` and `TestLayersTimeout`: random stacks of values, children and budgets.

use downhaul_context::{Canceller, CauseKind, Context, Level};

use crate::common::{Dice, SECOND};

const LAYERS: usize = 40;
/// As many kinds of values.
const KINDS: usize = 8;

struct Value<const KIND: usize>(usize);

fn bind<const KIND: usize>(ctx: &Context, layer: usize) -> Context {
    ctx.with_value(Value::<KIND>(layer))
}

fn read<const KIND: usize>(ctx: &Context) -> Option<usize> {
    ctx.value::<Value<KIND>>().map(|value| value.0)
}

const BIND: [fn(&Context, usize) -> Context; KINDS] =
    [bind::<0>, bind::<1>, bind::<2>, bind::<3>, bind::<4>, bind::<5>, bind::<6>, bind::<7>];
const READ: [fn(&Context) -> Option<usize>; KINDS] =
    [read::<0>, read::<1>, read::<2>, read::<3>, read::<4>, read::<5>, read::<6>, read::<7>];

/// What a random stack has become.
struct Stack {
    innermost: Context,
    cancellers: Vec<Canceller>,
    /// In which layer each kind of value was bound last.
    bound: [Option<usize>; KINDS],
}

impl Stack {
    /// Its budgets are of `seconds` seconds and more.
    fn new(dice: &mut Dice, seconds: u32) -> Self {
        let (root, canceller) = Context::background().derive().label("root").build();
        let mut stack = Self { innermost: root, cancellers: vec![canceller], bound: [None; KINDS] };
        (0..LAYERS).for_each(|layer| stack.add(layer, dice, seconds));
        stack
    }

    fn add(&mut self, layer: usize, dice: &mut Dice, seconds: u32) {
        let outer = &self.innermost;
        let (inner, canceller) = match dice.below(3) {
            0 => {
                let kind = dice.below(KINDS);
                self.bound[kind] = Some(layer);
                self.innermost = BIND[kind](outer, layer);
                return;
            }
            1 => outer.child(),
            _ => outer.with_timeout((seconds + dice.below(9) as u32) * SECOND),
        };
        self.cancellers.push(canceller);
        self.innermost = inner;
    }

    fn assert_values(&self) {
        let found: [_; KINDS] = std::array::from_fn(|kind| READ[kind](&self.innermost));
        assert_eq!(found, self.bound);
    }
}

/// Go 45, 46, 47, 48, 49: each layer of each stack is the one that is cancelled.
#[test]
fn cancelling_any_layer_ends_the_innermost_and_leaves_the_values() {
    let seed = Dice::new().seed();
    let stack = || Stack::new(&mut Dice::of(seed), 3600);
    for layer in 0..stack().cancellers.len() {
        let stack = stack();
        assert_eq!(stack.innermost.level(), Level::Live);
        assert_eq!(stack.innermost.path(), "root");
        stack.assert_values();
        stack.cancellers[layer].cancel();
        assert_eq!(stack.innermost.cause().unwrap().kind(), CauseKind::Cancelled);
        stack.assert_values();
    }
}

/// Go 50, 51: the earliest budget of all ends it.
#[tokio::test(start_paused = true)]
async fn the_shortest_budget_of_any_layer_ends_the_innermost_and_leaves_the_values() {
    let mut dice = Dice::new();
    for _ in 0..20 {
        let mut stack = Stack::new(&mut dice, 1);
        let (innermost, canceller) = stack.innermost.with_timeout(20 * SECOND);
        stack.innermost = innermost;
        stack.cancellers.push(canceller);
        let cause = stack.innermost.done().await;
        assert_eq!(cause.kind(), CauseKind::Deadline);
        assert_eq!(Some(tokio::time::Instant::now()), stack.innermost.deadline());
        stack.assert_values();
    }
}
