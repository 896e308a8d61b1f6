//! What grpc-java tests of its `Context`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use downhaul_context::{CauseKind, Context, Reason, Registration};
use tokio::time::{Instant, advance};

use crate::common::{SECOND, Wakes, assert_ended, known_below, waiters, why};

/// Names, in the order in which callbacks told them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn on_done(&self, ctx: &Context, name: &'static str) -> Registration {
        let log = Arc::clone(&self.0);
        ctx.on_done(move |_| log.lock().expect("a whole log").push(name))
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().expect("a whole log"))
    }
}

/// Extra B2: also of many on many threads, and then the cause is that one's.
#[test]
fn one_cancel_of_many_says_that_it_was_the_one() {
    for _ in 0..if cfg!(miri) { 3 } else { 300 } {
        let (ctx, canceller) = Context::root();
        let start = Barrier::new(2);
        let cancel = |words| {
            start.wait();
            canceller.cancel_with(Reason::cancelled(words))
        };
        let first = thread::scope(|scope| {
            let other = scope.spawn(|| cancel("the other"));
            [cancel("this one"), other.join().unwrap()]
        });
        assert!(first == [true, false] || first == [false, true], "{first:?}");
        assert_eq!(why(&ctx).unwrap().contains("this one"), first[0]);
        assert!(!canceller.cancel());
    }
}

/// Extra B3: a panic in one reaches neither the others nor who cancels.
#[test]
fn callbacks_run_once_and_their_panics_stay_with_them() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    let _callbacks = [
        log.on_done(&ctx, "first"),
        ctx.on_done(|_| panic!("as a test wants it")),
        log.on_done(&ctx, "last"),
    ];
    let cancel = || catch_unwind(AssertUnwindSafe(|| canceller.cancel()));
    assert_eq!((cancel().unwrap(), cancel().unwrap()), (true, false));
    assert_eq!(log.take(), ["first", "last"]);
}

/// Extra B4: the link goes with the child, not with its last listener.
#[test]
fn stopped_callbacks_of_a_child_are_gone_and_its_link_goes_with_it() {
    let (parent, _parent) = Context::root();
    let child = parent.child();
    let callbacks = [child.0.on_done(drop), child.0.on_done(drop), parent.on_done(drop)];
    assert_eq!((waiters(&parent), waiters(&child.0)), (1, 2));
    drop(callbacks);
    assert_eq!((waiters(&parent), waiters(&child.0)), (0, 0));
    drop(child);
    assert_eq!(known_below(&parent), 0);
}

/// Extra B5: a grandchild with a callback, below children with and without.
#[test]
fn a_cancel_reaches_callbacks_below_contexts_that_have_none() {
    let (root, canceller) = Context::root();
    let ((with, _with), (without, _without)) = (root.child(), root.child());
    let ((below_with, _bw), (below_without, _bo)) = (with.child(), without.child());
    let log = Log::default();
    let _callbacks = [
        log.on_done(&with, "with"),
        log.on_done(&below_with, "below with"),
        log.on_done(&below_without, "below without"),
    ];
    canceller.cancel();
    let mut told = log.take();
    told.sort_unstable();
    assert_eq!(told, ["below with", "below without", "with"]);
    assert_ended(&without, CauseKind::Cancelled);
}

/// Extra B7: whoever registered first.
#[test]
fn a_parents_callbacks_run_before_its_childrens_and_in_the_order_of_their_coming() {
    let (parent, canceller) = Context::root();
    let (child, _child) = parent.child();
    let log = Log::default();
    let _callbacks = [
        log.on_done(&child, "child"),
        log.on_done(&parent, "parent"),
        log.on_done(&parent, "parent again"),
    ];
    canceller.cancel();
    assert_eq!(log.take(), ["parent", "parent again", "child"]);
}

/// Extra B8: the deadline of a context is the one that ends it.
#[tokio::test(start_paused = true)]
async fn the_earlier_of_a_parents_and_a_childs_deadline_counts() {
    let ctx = Context::background();
    for (parents, childs) in [(1, 2), (2, 1)] {
        let begun = Instant::now();
        let (parent, _parent) = ctx.derive().label("2").timeout(parents * SECOND).build();
        let (child, _child) = parent.derive().label("1").timeout(childs * SECOND).build();
        assert_eq!(child.remaining(), Some(SECOND));
        let cause = child.done().await;
        assert_eq!((cause.kind(), begun.elapsed()), (CauseKind::Deadline, SECOND));
        assert_eq!(cause.path(), if parents == 1 { "2" } else { "2 > 1" });
        assert_eq!(parent.is_done(), parents == 1);
    }
}

/// Extra B9: nobody is woken at a deadline that does not matter any more.
#[tokio::test(start_paused = true)]
async fn a_cancel_is_the_last_that_a_wait_with_a_timer_hears() {
    let (ctx, canceller) = Context::background().with_timeout(SECOND);
    let wakes = Arc::new(Wakes::default());
    let mut wait = Box::pin(ctx.done());
    assert!(wakes.poll(wait.as_mut()).is_pending());
    canceller.cancel();
    assert!(wakes.poll(wait.as_mut()).is_ready());
    drop(wait);
    assert_eq!(wakes.count(), 1);
    advance(2 * SECOND).await;
    assert_eq!((wakes.count(), Arc::strong_count(&wakes)), (1, 1));
}
