//! Values by type: inherited, shadowed, never printed.

use std::sync::Arc;

use downhaul_context::Context;

struct Tenant(&'static str);
struct Secret(#[allow(dead_code, reason = "only its absence from output matters")] &'static str);

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
fn a_very_long_chain_of_values_is_dropped_without_recursion() {
    // Miri interprets each step.
    let length: u32 = if cfg!(miri) { 2000 } else { 200_000 };
    let mut ctx = Context::background();
    for n in 0..length {
        ctx = ctx.with_value(n);
    }
    assert_eq!(ctx.value::<u32>(), Some(&(length - 1)));
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
    // A look at what is behind makes indexes, a later one uses them.
    for _ in 0..2 {
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
    assert!(ctx.value::<Numbered<0>>().is_some());
    let child = ctx.child();
    drop(ctx);
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (17, 13));
    drop(child);
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
}
