//! Values by type: inherited, shadowed, never printed.

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
