//! Go's `afterfunc_test.go`: parents of another library that offer no channel but hooks.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context as TaskContext, Poll, Waker};

use downhaul_context::{Canceller, CauseKind, Context, Reason};

use crate::common::{SECOND, assert_ended, waiters};

/// What another library may have: hooks by number, none of them after the end.
#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Registered>>);

#[derive(Default)]
struct Registered {
    ended: bool,
    next: usize,
    hooks: Vec<(usize, Waker)>,
}

/// One hook. Dropping it takes it out.
struct Hook {
    hooks: Hooks,
    number: Option<usize>,
}

impl Hooks {
    fn child(&self) -> (Context, Canceller) {
        let hook = Hook { hooks: self.clone(), number: None };
        Context::background().child_until(async {
            hook.await;
            Reason::operator("the hook")
        })
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().expect("whole hooks")
    }

    fn count(&self) -> usize {
        self.lock().hooks.len()
    }

    fn end(&self) {
        let mut registered = self.lock();
        registered.ended = true;
        let hooks = std::mem::take(&mut registered.hooks);
        drop(registered);
        hooks.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Future for Hook {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let hooks = self.hooks.clone();
        let mut registered = hooks.lock();
        if registered.ended {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert(registered.next);
        registered.next += 1;
        registered.hooks.retain(|(other, _)| *other != number);
        registered.hooks.push((number, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let number = self.number;
        self.hooks.lock().hooks.retain(|(other, _)| Some(*other) != number);
    }
}

/// Go 110, 111: before the call that runs the hooks returns.
#[test]
fn a_child_and_a_timed_child_of_hooks_end_with_them() {
    let hooks = Hooks::default();
    let (ctx, _canceller) = hooks.child();
    let ((child, _child), (timed, _timed)) = (ctx.child(), ctx.with_timeout(3600 * SECOND));
    assert_eq!(hooks.count(), 1);
    hooks.end();
    [&ctx, &child, &timed].into_iter().for_each(|ctx| assert_ended(ctx, CauseKind::Operator));
    assert_eq!(hooks.count(), 0);
}

/// Go 112: as of any other context.
#[test]
fn a_callback_of_a_child_of_hooks_runs_with_them() {
    let hooks = Hooks::default();
    let (ctx, _canceller) = hooks.child();
    let kind = Arc::new(Mutex::new(None));
    let told = Arc::clone(&kind);
    let _callback = ctx.on_done(move |cause| *told.lock().unwrap() = Some(cause.kind()));
    hooks.end();
    assert_eq!(*kind.lock().unwrap(), Some(CauseKind::Operator));
}

/// Go 113, 114: Go takes the hook out at the cancel, we when the last handle goes.
#[test]
fn children_of_hooks_that_are_cancelled_and_dropped_take_their_hooks_out() {
    let hooks = Hooks::default();
    let children = [hooks.child(), hooks.child()];
    let timed = children[1].0.with_timeout(3600 * SECOND);
    assert_eq!(hooks.count(), 2);
    timed.1.cancel();
    for (ctx, canceller) in children {
        canceller.cancel();
        assert_ended(&ctx, CauseKind::Cancelled);
    }
    assert_eq!(hooks.count(), 1, "the timed one is held");
    drop(timed);
    assert_eq!(hooks.count(), 0);
}

/// Go 115: the hook is the child's, and not the callback's.
#[test]
fn a_stopped_callback_leaves_nothing_in_the_child_of_hooks() {
    let hooks = Hooks::default();
    let (ctx, canceller) = hooks.child();
    let callback = ctx.on_done(drop);
    assert_eq!((waiters(&ctx), hooks.count()), (1, 1));
    assert!(callback.stop());
    assert_eq!(waiters(&ctx), 0);
    drop((ctx, canceller));
    assert_eq!(hooks.count(), 0);
}
