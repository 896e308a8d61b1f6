//! Small races in every order that the threads can take.
//!
//! `cargo xtask loom` runs them.

#![cfg(downhaul_loom)]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use downhaul_context::{Canceller, Cause, CauseKind, Context, Level, Reason};
use loom::sync::Mutex;
use loom::sync::atomic::AtomicBool as LoomBool;
use loom::thread;

/// A task that waits: polled once, then only if it was woken.
struct Task<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    woken: Arc<Flag>,
    ready: bool,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<T> Task<T> {
    fn polled_once(future: impl Future<Output = T> + Send + 'static) -> Self {
        let mut task = Self { future: Box::pin(future), woken: Arc::default(), ready: false };
        task.poll();
        task
    }

    fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.ready = self.future.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_ready();
    }

    /// What it waits for has come.
    fn must_finish(mut self) {
        if !self.ready {
            assert!(self.woken.0.load(Ordering::SeqCst), "a wake was lost");
            self.poll();
            assert!(self.ready, "woken, and yet pending");
        }
    }
}

fn done(ctx: &Context) -> Task<Cause> {
    let ctx = ctx.clone();
    Task::polled_once(async move { ctx.done().await })
}

fn draining(ctx: &Context) -> Task<()> {
    let ctx = ctx.clone();
    Task::polled_once(async move { ctx.draining().await })
}

fn cancel(canceller: Canceller) -> thread::JoinHandle<()> {
    thread::spawn(move || assert!(canceller.cancel()))
}

/// Children of children of `ctx`, and what keeps them live.
fn chain(ctx: &Context, depth: usize) -> (Context, Vec<Canceller>) {
    let mut cancellers = Vec::new();
    let mut leaf = ctx.clone();
    for _ in 0..depth {
        let (child, canceller) = leaf.child();
        cancellers.push(canceller);
        leaf = child;
    }
    (leaf, cancellers)
}

/// Runs `check` in every order of its threads or, where they are too many, in those with so many
/// preemptions at most. `LOOM_MAX_PREEMPTIONS` sets another bound, `DOWNHAUL_LOOM_LONG` lifts it.
fn model(preemptions: impl Into<Option<usize>>, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() && std::env::var_os("DOWNHAUL_LOOM_LONG").is_none() {
        builder.preemption_bound = preemptions.into();
    }
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        check();
    });
    println!("orders: {}", orders.load(Ordering::Relaxed));
}

#[test]
fn a_wait_and_a_cancel() {
    model(None, || {
        let (ctx, canceller) = Context::root();
        let killer = cancel(canceller);
        let task = done(&ctx);
        killer.join().unwrap();
        task.must_finish();
    });
}

#[test]
fn a_derivation_and_a_cancel() {
    model(None, || {
        let (root, canceller) = Context::root();
        let killer = cancel(canceller);
        let (child, _child) = root.child();
        let task = done(&child);
        killer.join().unwrap();
        assert!(child.is_done());
        task.must_finish();
    });
}

#[test]
fn a_first_wait_that_links_and_an_ancestors_cancel() {
    model(3, || {
        let (root, canceller) = Context::root();
        let (leaf, _cancellers) = chain(&root, 2);
        let killer = cancel(canceller);
        let task = done(&leaf);
        killer.join().unwrap();
        task.must_finish();
    });
}

#[test]
fn two_waits_on_one_unlinked_chain_and_a_cancel_of_the_root() {
    model(3, || {
        let (root, canceller) = Context::root();
        let (leaf, _cancellers) = chain(&root, 2);
        let other = thread::spawn({
            let leaf = leaf.clone();
            move || done(&leaf)
        });
        // It may find the lower links made by the other, which has not come to the upper ones yet.
        let task = done(&leaf);
        assert!(canceller.cancel());
        task.must_finish();
        other.join().unwrap().must_finish();
    });
}

#[test]
fn two_waits_and_a_cancel_of_the_parent_all_at_once() {
    model(2, || {
        let (root, canceller) = Context::root();
        let (leaf, _cancellers) = chain(&root, 1);
        let other = thread::spawn({
            let leaf = leaf.clone();
            move || done(&leaf)
        });
        let killer = cancel(canceller);
        let task = done(&leaf);
        killer.join().unwrap();
        other.join().unwrap().must_finish();
        task.must_finish();
    });
}

#[test]
fn a_wait_that_is_dropped_and_a_cancel() {
    model(None, || {
        let (ctx, canceller) = Context::root();
        let (first, second) = (done(&ctx), done(&ctx));
        let killer = cancel(canceller);
        drop(first);
        killer.join().unwrap();
        second.must_finish();
    });
}

#[test]
fn a_branch_that_is_dropped_and_a_cancel_of_the_root() {
    model(3, || {
        let (root, canceller) = Context::root();
        let (leaf, cancellers) = chain(&root, 2);
        drop(done(&leaf));
        let task = done(&root);
        let killer = cancel(canceller);
        cancellers.into_iter().for_each(Canceller::disarm);
        drop(leaf);
        killer.join().unwrap();
        task.must_finish();
    });
}

#[test]
fn a_wait_for_draining_and_a_drain() {
    model(3, || {
        let (root, canceller) = Context::root();
        let (child, _child) = root.child();
        let host = thread::spawn(move || {
            assert!(canceller.drain(Duration::from_secs(60)));
            canceller
        });
        let task = draining(&child);
        let _canceller = host.join().unwrap();
        assert_eq!(child.level(), Level::Draining);
        task.must_finish();
    });
}

#[test]
fn of_two_cancels_one_ends_and_both_find_it_ended() {
    model(None, || {
        let (ctx, canceller) = Context::root();
        let canceller = Arc::new(canceller);
        let cancel = {
            let ctx = ctx.clone();
            move |canceller: Arc<Canceller>| {
                let won = canceller.cancel();
                assert!(ctx.is_done(), "it returned, so the context has ended");
                won
            }
        };
        let task = done(&ctx);
        let other = thread::spawn({
            let (cancel, canceller) = (cancel.clone(), Arc::clone(&canceller));
            move || cancel(canceller)
        });
        let won = cancel(canceller);
        assert!(won != other.join().unwrap(), "exactly one ended it");
        task.must_finish();
    });
}

// In these two it is the spawned thread that looks: loom tries other orders for a look at what was
// written, and not for a write to what was looked at if the writer has looked at it, too.

#[test]
fn a_context_is_never_behind_its_parent() {
    model(3, || {
        let (root, canceller) = Context::root();
        let (child, _child) = root.child();
        let looking = thread::spawn({
            let child = child.clone();
            move || assert!(!root.is_done() || child.is_done() && child.cause().is_some())
        });
        assert!(canceller.cancel());
        looking.join().unwrap();
        assert!(child.is_done());
    });
}

#[test]
fn who_sees_an_end_sees_what_came_before_it() {
    model(None, || {
        let (root, canceller) = Context::root();
        let (child, _child) = root.child();
        let written = Arc::new(LoomBool::new(false));
        let looking = thread::spawn({
            let written = Arc::clone(&written);
            move || assert!(!child.is_done() || written.load(Ordering::Relaxed))
        });
        written.store(true, Ordering::Relaxed);
        assert!(canceller.cancel());
        looking.join().unwrap();
    });
}

/// How often a callback ran.
fn counter() -> (Arc<AtomicUsize>, impl FnOnce(Cause) + Send + 'static) {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    (ran, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    })
}

#[test]
fn a_callback_that_is_registered_while_its_context_ends_runs_once() {
    model(3, || {
        let (ctx, canceller) = Context::root();
        let killer = cancel(canceller);
        let (ran, callback) = counter();
        let registration = ctx.on_done(callback);
        killer.join().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(!registration.stop());
    });
}

#[test]
fn a_callback_is_stopped_or_runs_and_never_both() {
    model(3, || {
        let (ctx, canceller) = Context::root();
        let (ran, callback) = counter();
        let registration = ctx.on_done(callback);
        let killer = cancel(canceller);
        let stopped = registration.stop();
        killer.join().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), usize::from(!stopped));
    });
}

#[test]
fn a_callback_hears_of_an_end_while_it_hears_of_a_drain() {
    model(2, || {
        let (root, canceller) = Context::root();
        let (child, child_canceller) = root.child();
        let (ran, callback) = counter();
        let _registration = child.on_done(callback);
        let killer = cancel(canceller);
        child_canceller.drain(Duration::MAX);
        killer.join().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_merged_context_ends_with_whichever_parent_is_first() {
    model(2, || {
        let (first, first_canceller) = Context::root();
        let (second, second_canceller) = Context::root();
        let (both, _both) = first.merged(&second);
        let task = done(&both);
        let killers = (cancel(first_canceller), cancel(second_canceller));
        killers.0.join().unwrap();
        killers.1.join().unwrap();
        assert!(both.is_done());
        task.must_finish();
    });
}

#[test]
fn a_merge_and_a_cancel_of_the_second_parent() {
    model(3, || {
        let (first, _first) = Context::root();
        let (second, canceller) = Context::root();
        let killer = cancel(canceller);
        let (both, _both) = first.merged(&second);
        let task = done(&both);
        killer.join().unwrap();
        assert!(both.is_done());
        task.must_finish();
    });
}

#[test]
fn a_merged_context_that_is_dropped_and_a_cancel_of_the_second_parent() {
    model(3, || {
        let (first, _first) = Context::root();
        let (second, canceller) = Context::root();
        let (both, both_canceller) = first.merged(&second);
        let killer = cancel(canceller);
        both_canceller.disarm();
        drop(both);
        killer.join().unwrap();
    });
}

/// Something of another library, which ends when it is told to.
#[derive(Clone, Default)]
struct Foreign {
    waker: Arc<Mutex<Option<Waker>>>,
    ended: Arc<LoomBool>,
}

impl Foreign {
    fn child(&self) -> (Context, Canceller) {
        let foreign = self.clone();
        Context::background().child_until(poll_fn(move |cx| {
            *foreign.waker.lock().expect("whole") = Some(cx.waker().clone());
            match foreign.ended.load(Ordering::SeqCst) {
                true => Poll::Ready(Reason::client_gone()),
                false => Poll::Pending,
            }
        }))
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Makes its child's side look, whether it has ended or not. The waker stays.
    fn wake(&self) {
        let waker = self.waker.lock().expect("whole").clone();
        waker.into_iter().for_each(Waker::wake);
    }
}

#[test]
fn a_foreign_parent_that_ends_while_its_child_is_made_ends_it() {
    model(3, || {
        let foreign = Foreign::default();
        let ending = foreign.clone();
        let ending = thread::spawn(move || ending.end());
        let (ctx, _canceller) = foreign.child();
        ending.join().unwrap();
        assert_eq!(ctx.cause().unwrap().kind(), CauseKind::ClientGone);
    });
}

#[test]
fn a_foreign_parent_that_wakes_or_ends_while_its_child_is_dropped_is_let_go() {
    for tell in [Foreign::wake, Foreign::end] {
        model(3, move || {
            let foreign = Foreign::default();
            let child = foreign.child();
            let telling = foreign.clone();
            let telling = thread::spawn(move || tell(&telling));
            drop(child);
            telling.join().unwrap();
            assert_eq!(Arc::strong_count(&foreign.ended), 1);
        });
    }
}
