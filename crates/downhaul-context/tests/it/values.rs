//! Values by type: inherited, shadowed, never printed.

use std::borrow::Cow;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use downhaul_context::{Context, WireValue};

/// More lookups than it takes until they are fast.
const MANY: usize = 200;

struct Tenant(&'static str);
struct Secret(#[allow(dead_code, reason = "only its absence from output matters")] &'static str);

struct Region(&'static str);

impl WireValue for Region {
    const NAME: &'static str = "region";

    fn encode(&self) -> Cow<'_, str> {
        self.0.into()
    }

    fn decode(_text: &str) -> Option<Self> {
        None
    }
}

#[test]
fn a_value_is_found_by_its_type_in_all_descendants() {
    let ctx = Context::background().with_value(Tenant("acme")).with_value(7_u32);
    let (child, _canceller) = ctx.child();
    assert_eq!(child.value::<Tenant>().unwrap().0, "acme");
    assert_eq!(child.value::<u32>(), Some(&7));
    assert!(child.value::<u64>().is_none());
}

#[test]
fn the_nearest_binding_of_a_type_wins_and_the_outer_is_unchanged() {
    let outer = Context::background().with_value(Tenant("acme"));
    let inner = outer.with_value(Tenant("globex"));
    assert_eq!(inner.value::<Tenant>().unwrap().0, "globex");
    assert_eq!(outer.value::<Tenant>().unwrap().0, "acme");
}

#[test]
fn values_are_readable_after_the_end() {
    let (ctx, canceller) = Context::root();
    let ctx = ctx.with_value(7_u32);
    canceller.cancel();
    assert_eq!(ctx.value::<u32>(), Some(&7));
}

#[test]
fn printing_a_context_does_not_print_its_values() {
    let ctx = Context::background().with_value(Secret("hunter2"));
    assert!(!format!("{ctx:?}").contains("hunter2"));
}

#[test]
fn values_bound_at_once_are_each_found_by_their_type() {
    let ctx =
        Context::background().with_values((1_u8, 2_u16, 3_u32, 4_u64, 5_i8, 6_i16, 7_i32, ()));
    let ctx = ctx.with_values((Tenant("acme"), 8_u32)).with_values(("alone",));
    for _ in 0..MANY {
        let found = (ctx.value::<u8>(), ctx.value::<u32>(), ctx.value::<i32>());
        assert_eq!(found, (Some(&1), Some(&8), Some(&7)));
        assert_eq!(ctx.value::<Tenant>().unwrap().0, "acme");
        assert_eq!((ctx.value(), ctx.value()), (Some(&"alone"), Some(&())));
        assert_eq!(ctx.value::<i64>(), None);
    }
}

#[test]
fn of_two_values_of_one_type_bound_at_once_the_later_wins() {
    assert_eq!(Context::background().with_values((1_u8, 2_u8)).value(), Some(&2_u8));
}

#[test]
fn a_value_bound_with_others_hides_one_that_opted_in() {
    let ctx = Context::background().with_wire_value(Region("north"));
    assert!(format!("{ctx:?}").contains("north"));
    let hidden = ctx.with_values((1_u8, Region("south")));
    assert!(!format!("{hidden:?}").contains("north"));
    assert!(!format!("{hidden:?}").contains("south"));
}

#[test]
fn threads_that_share_values_find_the_same_ones() {
    let service = Context::background().with_values((Tenant("acme"), 1_u8)).with_value(2_u16);
    thread::scope(|scope| {
        for own in 0..4_u32 {
            let service = &service;
            scope.spawn(move || {
                for _ in 0..MANY {
                    let request = service.with_value(own).with_value(3_u64);
                    let found = (request.value::<u8>(), request.value(), request.value());
                    assert_eq!(found, (Some(&1), Some(&2_u16), Some(&own)));
                    assert_eq!(request.value::<i8>(), None);
                }
            });
        }
    });
}

/// Runs on a small stack, which a drop by recursion would overflow.
fn on_a_small_stack(task: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().stack_size(128 * 1024).spawn(task).expect("there is room for a thread")
}

/// Miri interprets each step.
const LONG: usize = if cfg!(miri) { 2000 } else { 100_000 };

#[test]
fn a_very_long_chain_of_values_is_dropped_without_recursion() {
    let task = || {
        let mut ctx = Context::background().with_value(Tenant("acme"));
        let mut shared = Vec::new();
        for n in 0..LONG {
            ctx = ctx.with_value(n);
            if n % (LONG / 10) == 0 {
                (0..MANY).for_each(|_| assert!(ctx.value::<Tenant>().is_some()));
                shared.push(ctx.clone());
            }
        }
        assert_eq!(ctx.value(), Some(&(LONG - 1)));
        drop(ctx);
        shared.truncate(5);
        assert_eq!(shared[4].value(), Some(&(LONG / 10 * 4)));
    };
    on_a_small_stack(task).join().unwrap();
}

#[test]
fn a_chain_that_two_threads_let_go_of_at_once_leaves_nothing_behind() {
    let counted = Arc::new(());
    let mut all = vec![Context::background()];
    for at in 0..LONG {
        all.push(all[at].with_value(Arc::clone(&counted)));
    }
    let last = all[LONG].clone();
    let start = Arc::new(Barrier::new(2));
    let begin = Arc::clone(&start);
    let one = on_a_small_stack(move || {
        begin.wait();
        all.into_iter().rev().for_each(drop);
    });
    let two = on_a_small_stack(move || {
        start.wait();
        drop(last);
    });
    one.join().unwrap();
    two.join().unwrap();
    assert_eq!(Arc::strong_count(&counted), 1);
}

/// As many types as there are numbers.
#[derive(Debug, PartialEq)]
struct Numbered<const N: usize>(Arc<()>);

/// Binds `Numbered<0>` to `Numbered<15>`, and then each again with another value from 4 on.
fn many(first: &Arc<()>, second: &Arc<()>) -> Context {
    macro_rules! bind {
        ($ctx:expr, $value:expr, $($n:literal)*) => {
            $ctx$(.with_value(Numbered::<$n>(Arc::clone($value))))*
        };
    }
    let ctx = bind!(Context::background(), first, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    bind!(ctx, second, 4 5 6 7 8 9 10 11 12 13 14 15)
}

#[test]
fn of_many_values_each_is_found_the_nearest_first_and_from_every_place() {
    let (first, second) = (Arc::new(()), Arc::new(()));
    let ctx = many(&first, &second);
    // Many lookups make indexes, and the others use them.
    for _ in 0..MANY {
        assert!(Arc::ptr_eq(&ctx.value::<Numbered<0>>().unwrap().0, &first));
        assert!(Arc::ptr_eq(&ctx.value::<Numbered<3>>().unwrap().0, &first));
        assert!(Arc::ptr_eq(&ctx.value::<Numbered<4>>().unwrap().0, &second));
        assert!(Arc::ptr_eq(&ctx.value::<Numbered<15>>().unwrap().0, &second));
        assert!(ctx.value::<Numbered<16>>().is_none());
    }
    let nearer = ctx.with_value(Numbered::<0>(Arc::clone(&second)));
    assert!(Arc::ptr_eq(&nearer.value::<Numbered<0>>().unwrap().0, &second));
    assert!(Arc::ptr_eq(&ctx.value::<Numbered<0>>().unwrap().0, &first));
}

#[test]
fn values_go_with_the_last_context_that_has_them_also_where_they_were_looked_for() {
    let (first, second) = (Arc::new(()), Arc::new(()));
    let ctx = many(&first, &second);
    (0..MANY).for_each(|_| assert!(ctx.value::<Numbered<0>>().is_some()));
    let child = ctx.child();
    drop(ctx);
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (17, 13));
    drop(child);
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
}
