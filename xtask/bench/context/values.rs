//! Typed values: adding one, and finding one among others.

use std::hint::black_box;

use downhaul_context::Context;
use http::Extensions;
use opentelemetry::Context as Telemetry;

use crate::case::Case;
use crate::peers::{EXTENSIONS, TELEMETRY};
use crate::probe::Probe;
use crate::samples::Samples;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("add a value", TELEMETRY, 0.35, add).allocating(1),
        Case::ratio("add a value", EXTENSIONS, 0.35, add_to_extensions).allocating(1),
        Case::ratio("get at 1 value, the worst", TELEMETRY, 1.1, get::<1, 0>),
        Case::ratio("get at 8 values, the worst", TELEMETRY, 1.1, get::<8, 7>),
        Case::ratio("get at 32 values, the worst", TELEMETRY, 1.1, get::<32, 31>),
    ]
}

/// A type for each number.
#[derive(Clone, Copy)]
struct Value<const NUMBER: usize>(u64);

struct Absent;

fn add(probe: &Probe) -> Samples {
    let ((ctx, _canceller), telemetry) = (Context::root(), Telemetry::new());
    probe.compare(
        |lap| lap.run(|| drop(black_box(black_box(&ctx).with_value(Value::<0>(1))))),
        |lap| lap.run(|| drop(black_box(black_box(&telemetry).with_value(Value::<0>(1))))),
    )
}

fn add_to_extensions(probe: &Probe) -> Samples {
    let (ctx, _canceller) = Context::root();
    let extended = || {
        let mut extensions = Extensions::new();
        extensions.insert(Value::<0>(1));
        extensions
    };
    probe.compare(
        |lap| lap.run(|| drop(black_box(black_box(&ctx).with_value(Value::<0>(1))))),
        |lap| lap.run(|| drop(black_box(extended()))),
    )
}

/// The worst of ours, which depends on what is looked for, against a hit of the peer, which does
/// not.
fn get<const VALUES: usize, const NEWEST: usize>(probe: &Probe) -> Samples {
    let mut ctx = Context::root().0;
    let mut telemetry = Telemetry::new();
    for (ours, theirs) in ADD.into_iter().take(VALUES) {
        (ctx, telemetry) = (ours(&ctx), theirs(&telemetry));
    }
    let newest = || black_box(&ctx).value::<Value<NEWEST>>().is_some_and(|found| found.0 == 1);
    let oldest = || black_box(&ctx).value::<Value<0>>().is_some_and(|found| found.0 == 1);
    let missing = || black_box(&ctx).value::<Absent>().is_none();
    let peer = || black_box(&telemetry).get::<Value<0>>().is_some_and(|found| found.0 == 1);
    let all = [
        probe.compare(|lap| lap.run(|| assert!(newest())), |lap| lap.run(|| assert!(peer()))),
        probe.compare(|lap| lap.run(|| assert!(oldest())), |lap| lap.run(|| assert!(peer()))),
        probe.compare(|lap| lap.run(|| assert!(missing())), |lap| lap.run(|| assert!(peer()))),
    ];
    let by_ratio = |one: &Samples, two: &Samples| one.ratio().median.total_cmp(&two.ratio().median);
    all.into_iter().max_by(by_ratio).expect("there are three")
}

type Adding = (fn(&Context) -> Context, fn(&Telemetry) -> Telemetry);

macro_rules! adding {
    ($($number:literal)*) => {
        [$((|to| to.with_value(Value::<$number>(1)), |to| to.with_value(Value::<$number>(1)))),*]
    };
}

const ADD: [Adding; 32] = adding!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
);
