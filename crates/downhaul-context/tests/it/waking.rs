//! Wakers that panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use downhaul_context::{Cause, Context};

/// Counts that it was woken, and then panics if it has words for that.
#[derive(Default)]
struct Bomb {
    woken: AtomicUsize,
    words: Option<&'static str>,
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        if let Some(words) = self.words {
            panic!("{words}");
        }
    }
}

/// Somebody who waits, by a waker that panics with `words` if there are any.
struct Waiter {
    bomb: Arc<Bomb>,
    _done: Pin<Box<dyn Future<Output = Cause>>>,
}

impl Waiter {
    fn of(ctx: &Context, words: impl Into<Option<&'static str>>) -> Self {
        let bomb = Arc::new(Bomb { words: words.into(), ..Bomb::default() });
        let (ctx, waker) = (ctx.clone(), Waker::from(Arc::clone(&bomb)));
        let mut done = Box::pin(async move { ctx.done().await });
        assert!(done.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        Self { bomb, _done: done }
    }
}

/// How often each was woken.
fn woken(waiters: &[Waiter]) -> Vec<usize> {
    waiters.iter().map(|waiter| waiter.bomb.woken.load(Ordering::SeqCst)).collect()
}

fn child(parent: &Context) -> Context {
    let (child, canceller) = parent.child();
    canceller.disarm();
    child
}

/// Waiters on a root, on its two children and on a grandchild, and some of each panic.
fn waiters(root: &Context) -> Vec<Waiter> {
    let (left, right) = (child(root), child(root));
    let leaf = child(&left);
    let first = Waiter::of(root, "first");
    let on_root = [first, Waiter::of(root, None), Waiter::of(root, "2"), Waiter::of(root, None)];
    let on_left = [Waiter::of(&left, "3"), Waiter::of(&left, "4"), Waiter::of(&left, None)];
    let below = [Waiter::of(&leaf, "5"), Waiter::of(&leaf, None), Waiter::of(&right, None)];
    on_root.into_iter().chain(on_left).chain(below).collect()
}

/// Runs `f` and returns the words of its panic.
fn words_of(f: impl FnOnce() -> bool) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("a waker panicked");
    *panic.downcast().expect("words of a panic that were formatted")
}

#[test]
fn all_are_woken_by_a_cancel_whatever_the_wakers_of_others_do_and_the_first_panic_goes_on() {
    let (root, canceller) = Context::root();
    let waiters = waiters(&root);
    assert_eq!(words_of(|| canceller.cancel()), "first");
    assert_eq!(woken(&waiters), [1; 10]);
    assert!(root.is_done() && !canceller.cancel());
}

#[test]
fn all_are_woken_by_a_drain_and_then_by_the_end_whatever_the_wakers_of_others_do() {
    let (root, canceller) = Context::root();
    let before = waiters(&root);
    assert_eq!(words_of(|| canceller.drain(Duration::MAX)), "first");
    assert_eq!(woken(&before), [1; 10]);
    drop(before);
    let after = waiters(&root);
    assert_eq!(words_of(|| canceller.cancel()), "first");
    assert_eq!(woken(&after), [1; 10]);
}

#[test]
fn a_panic_that_drops_a_canceller_goes_on_whatever_the_wakers_do() {
    let (root, canceller) = Context::root();
    let waiters = waiters(&root);
    let words = words_of(|| {
        let _canceller = canceller;
        panic!("{}", "of the work");
    });
    assert_eq!(words, "of the work");
    assert_eq!(woken(&waiters), [1; 10]);
}
