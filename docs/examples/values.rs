//! Values: what belongs to the request, found by its type.

use downhaul_context::{Context, RequestId};

fn main() {
    inherited();
    shadowed();
    same_lifetime();
    together();
    parameters();
    secret();
}

// ANCHOR: inherited
/// A type of its own, and not `String`: the type is the key.
#[derive(Debug, PartialEq)]
struct Tenant(&'static str);

fn inherited() {
    let (service, _service) = Context::root();
    let request = service.with_value(RequestId::generate()).with_value(Tenant("acme"));
    let (query, _query) = request.child();

    assert_eq!(query.value::<Tenant>(), Some(&Tenant("acme")));
    assert_eq!(query.value::<RequestId>(), request.value::<RequestId>());
    assert!(service.value::<Tenant>().is_none(), "values go down, never up");
}
// ANCHOR_END: inherited

// ANCHOR: shadowed
fn shadowed() {
    let request = Context::background().with_value(Tenant("acme"));
    let support = request.with_value(Tenant("support"));
    assert_eq!(support.value::<Tenant>(), Some(&Tenant("support")));
    assert_eq!(request.value::<Tenant>(), Some(&Tenant("acme")), "it is as it was");
}
// ANCHOR_END: shadowed

// ANCHOR: same
fn same_lifetime() {
    let (plain, canceller) = Context::root();
    let request = plain.with_value(Tenant("acme"));
    assert!(request.is_same(&plain), "one lifetime, two handles");
    canceller.cancel();
    assert!(request.is_done());
    assert!(request.value::<Tenant>().is_some(), "values stay readable after the end");
}
// ANCHOR_END: same

// ANCHOR: together
#[derive(Debug, PartialEq)]
struct Attempt(u32);

fn together() {
    let (service, _service) = Context::root();
    let request = service.with_values((RequestId::generate(), Tenant("acme"), Attempt(1)));
    assert!(request.value::<RequestId>().is_some());
    assert_eq!(request.value(), Some(&Tenant("acme")));

    let retry = request.with_values((Attempt(2), Attempt(3)));
    assert_eq!(retry.value(), Some(&Attempt(3)), "the later, and it is nearer than the first");
}
// ANCHOR_END: together

// ANCHOR: parameters
struct Quantity(u32);

/// Wrong: nothing says that it wants a quantity, until it runs without one.
fn reserve_wrong(ctx: &Context) -> Option<u32> {
    Some(ctx.value::<Quantity>()?.0)
}

/// Right: what a function needs to do its work is a parameter.
fn reserve_right(_ctx: &Context, quantity: u32) -> u32 {
    quantity
}

fn parameters() {
    let ctx = Context::background();
    assert_eq!(reserve_wrong(&ctx), None, "it compiles, and does nothing");
    assert_eq!(reserve_wrong(&ctx.with_value(Quantity(2))), Some(2));
    assert_eq!(reserve_right(&ctx, 2), 2);
}
// ANCHOR_END: parameters

// ANCHOR: secret
struct Token(&'static str);

fn secret() {
    let ctx = Context::background().with_value(Token("s3cr3t"));
    assert!(!format!("{ctx:?}").contains("s3cr3t"));
    assert!(ctx.value::<Token>().is_some_and(|token| token.0 == "s3cr3t"));
}
// ANCHOR_END: secret
