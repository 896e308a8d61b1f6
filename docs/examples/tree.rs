//! A tree of contexts: who ends whom, who keeps the canceller, and how a tree looks from outside.

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Canceller, CauseKind, Context, Reason};

fn main() {
    family();
    let (service, _service) = Context::root();
    forgotten(&service);
    returned(&service);
    shared(&service);
    disarmed();
    labels();
    snapshot();
}

// ANCHOR: family
fn family() {
    let (service, stop) = Context::root();
    let (request, canceller) = service.child();
    let (query, _query) = request.child();
    let (other, _other) = service.child();

    // Dropping a canceller ends its context and what is below, and nothing above or beside.
    drop(canceller);
    assert!(request.is_done() && query.is_done());
    assert!(!service.is_done() && !other.is_done());

    // Ending the service ends all, before `cancel_with` returns, and all can say why.
    stop.cancel_with(Reason::signal("SIGTERM"));
    assert_eq!(other.cause().map(|cause| cause.kind()), Some(CauseKind::Signal));
    // The request had ended before, and keeps its own cause.
    assert_eq!(query.cause().map(|cause| cause.kind()), Some(CauseKind::Dropped));
}
// ANCHOR_END: family

// ANCHOR: forgotten
fn forgotten(service: &Context) {
    // Wrong: `_` binds nothing. The canceller is dropped here, and the request ends here.
    let (request, _) = service.child();
    assert!(request.is_done());

    // Right: a name that begins with `_` lives to the end of the block.
    let (request, _canceller) = service.child();
    assert!(!request.is_done());
}
// ANCHOR_END: forgotten

// ANCHOR: returned
/// Wrong: the canceller stays behind in this function, and is dropped with it.
fn request_wrong(service: &Context) -> Context {
    let (request, _canceller) = service.child();
    request
}

/// Right: who gets the context gets what keeps it alive.
fn request_right(service: &Context) -> (Context, Canceller) {
    service.child()
}

fn returned(service: &Context) {
    assert!(request_wrong(service).is_done());
    let (request, _canceller) = request_right(service);
    assert!(!request.is_done());
}
// ANCHOR_END: returned

// ANCHOR: shared
fn shared(service: &Context) {
    // Whoever is first, the client or the administrator, ends the request.
    let (request, canceller) = service.child();
    let for_client = Arc::new(canceller);
    let for_admin = Arc::clone(&for_client);

    assert!(for_client.cancel_with(Reason::client_gone()));
    assert!(!for_admin.cancel_with(Reason::operator("DELETE /requests/7")), "it has ended");
    assert_eq!(request.cause().map(|cause| cause.kind()), Some(CauseKind::ClientGone));
}
// ANCHOR_END: shared

fn disarmed() {
    let (service, stop) = Context::root();
    let (request, canceller) = service.child();
    canceller.disarm();
    assert!(!request.is_done());
    stop.cancel();
    assert!(request.is_done());
}

// ANCHOR: labels
fn labels() {
    let (shop, _shop) = Context::background().derive().label("shop").build();
    let (request, _request) = shop.derive().label("GET /orders/{id}").build();
    let (query, _query) = request.derive().label("db.query").build();
    assert_eq!(query.path(), "shop > GET /orders/{id} > db.query");
}
// ANCHOR_END: labels

// ANCHOR: snapshot
fn snapshot() {
    let (shop, _shop) = Context::background().derive().label("shop").observed().build();
    let limit = Duration::from_secs(5);
    let (request, _request) = shop.derive().label("GET /orders/{id}").timeout(limit).build();
    let (query, canceller) = request.derive().label("db.query").build();
    canceller.cancel();

    let snapshot = shop.snapshot();
    println!("{snapshot}");
    let depths: Vec<_> = snapshot.entries().iter().map(|entry| entry.depth).collect();
    assert_eq!(depths, [0, 1, 2]);
    // It has ended and is listed: somebody still holds it.
    assert!(snapshot.entries()[2].cause.is_some());

    drop((query, canceller));
    assert_eq!(shop.snapshot().entries().len(), 2);
}
// ANCHOR_END: snapshot
