//! Random chains of values against a naive model: a lookup finds the nearest binding, at first and
//! when there is an index, and what crosses to another process is what opted in and is nearest.

use std::borrow::Cow;
use std::time::Duration;

use downhaul_context::wire::{Names, inject};
use downhaul_context::{Context, WireValue};
use proptest::prelude::*;
use proptest::sample::Index;

/// As many types as there are numbers.
struct Numbered<const N: usize>(u64);

impl<const N: usize> WireValue for Numbered<N> {
    const NAME: &'static str = "numbered";

    fn encode(&self) -> Cow<'_, str> {
        format!("{N}={}", self.0).into()
    }

    fn decode(_text: &str) -> Option<Self> {
        None
    }
}

/// What can be done with one of the types.
#[derive(Clone, Copy)]
struct Type {
    bind: fn(&Context, u64) -> Context,
    bind_wired: fn(&Context, u64) -> Context,
    /// Together with types 0 and 1, which are so shadowed the most.
    bind_three: fn(&Context, u64) -> Context,
    get: fn(&Context) -> Option<u64>,
}

impl Type {
    const fn of<const N: usize>() -> Self {
        Self {
            bind: |ctx, value| ctx.with_value(Numbered::<N>(value)),
            bind_wired: |ctx, value| ctx.with_wire_value(Numbered::<N>(value)),
            bind_three: |ctx, value| {
                ctx.with_values((Numbered::<0>(value), Numbered::<N>(value), Numbered::<1>(value)))
            },
            get: |ctx| ctx.value::<Numbered<N>>().map(|value| value.0),
        }
    }
}

macro_rules! types {
    ($($n:literal)*) => { [$(Type::of::<$n>()),*] };
}

/// Enough for two to share a bit of a mask, and a place in an index.
const TYPES: [Type; 40] = types!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
    20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
);

/// What each type is bound to, and whether that opted in.
type Model = [Option<(u64, bool)>; TYPES.len()];

#[derive(Clone, Copy, Debug)]
enum How {
    Alone,
    Wired,
    WithOthers,
}

#[derive(Clone, Debug)]
struct Step {
    /// The context that it starts from; else the newest.
    from: Option<Index>,
    how: How,
    ty: usize,
    /// The context that is then asked, and how often.
    asked: (Index, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(How::Alone), Just(How::Wired), Just(How::WithOthers)];
    let from = prop::option::weighted(0.2, any::<Index>());
    let asked = (any::<Index>(), 0..200_usize);
    (from, how, 0..TYPES.len(), asked).prop_map(|(from, how, ty, asked)| Step {
        from,
        how,
        ty,
        asked,
    })
}

fn bind((ctx, mut model): (Context, Model), step: &Step, value: u64) -> (Context, Model) {
    model[step.ty] = Some((value, matches!(step.how, How::Wired)));
    let ty = TYPES[step.ty];
    let ctx = match step.how {
        How::Alone => (ty.bind)(&ctx, value),
        How::Wired => (ty.bind_wired)(&ctx, value),
        How::WithOthers => {
            (model[0], model[1]) = (Some((value, false)), Some((value, false)));
            (ty.bind_three)(&ctx, value)
        }
    };
    (ctx, model)
}

fn found(ctx: &Context) -> Vec<Option<u64>> {
    TYPES.iter().map(|ty| (ty.get)(ctx)).collect()
}

fn crossing(ctx: &Context) -> Vec<String> {
    let pairs = inject(ctx, &Names::HTTP, Duration::ZERO);
    let mut texts: Vec<_> = pairs.into_iter().map(|(_, text)| text).collect();
    texts.sort();
    texts
}

fn expected(model: &Model) -> (Vec<Option<u64>>, Vec<String>) {
    let values = model.iter().map(|bound| bound.map(|(value, _)| value)).collect();
    let wired = model.iter().enumerate().filter_map(|(ty, bound)| match bound {
        Some((value, true)) => Some(format!("{ty}={value}")),
        _ => None,
    });
    let mut texts: Vec<_> = wired.collect();
    texts.sort();
    (values, texts)
}

proptest! {
    // Miri interprets each step.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 256 }))]

    #[test]
    fn a_lookup_finds_what_a_naive_model_finds(steps in prop::collection::vec(step(), 1..80)) {
        let mut contexts = vec![(Context::background(), [None; TYPES.len()])];
        for (value, step) in steps.iter().enumerate() {
            let from = match &step.from {
                Some(from) => from.get(&contexts),
                None => &contexts[value],
            };
            contexts.push(bind(from.clone(), step, value as u64));
            let (asked, times) = &step.asked;
            let (ctx, model) = asked.get(&contexts);
            for ty in (0..TYPES.len()).cycle().take(*times) {
                let bound = model[ty].map(|(value, _)| value);
                prop_assert_eq!((TYPES[ty].get)(ctx), bound, "type {}", ty);
            }
        }
        for (ctx, model) in &contexts {
            prop_assert_eq!((found(ctx), crossing(ctx)), expected(model));
        }
    }
}
