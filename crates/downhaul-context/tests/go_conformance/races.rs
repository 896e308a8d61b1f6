//! What Go tests with goroutines: `TestSimultaneousCancels`, `TestInterlockedCancels`,
//! `TestWithCancelSimultaneouslyCanceledParent`, `TestCauseRace` and `TestContextErrDoneRace`.
//!
//! Real threads and many rounds. `tests/loom.rs` goes through all orders of a few of them.

use std::hint;
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use downhaul_context::{Canceller, CauseKind, Context, Reason};

use crate::common::{Dice, assert_ended, block_on, poll_once, why};

const ROUNDS: usize = if cfg!(miri) { 3 } else { 500 };

/// A root, and contexts below it with four children each.
fn tree(size: usize) -> Vec<(Context, Canceller)> {
    let mut tree = vec![Context::root()];
    for child in 1..size {
        let parent = &tree[(child - 1) / 4].0;
        tree.push(parent.child());
    }
    tree
}

/// Go 43: no cancel hangs, and nobody misses the end or hears of it twice.
#[test]
fn a_tree_that_is_cancelled_everywhere_at_once_ends_everywhere() {
    let mut dice = Dice::new();
    for _ in 0..ROUNDS / 25 + 1 {
        let mut tree = tree(100);
        let contexts: Vec<_> = tree.iter().map(|(ctx, _)| ctx.clone()).collect();
        let heard = Arc::new(AtomicUsize::new(0));
        let listen = |ctx: &Context| {
            let heard = Arc::clone(&heard);
            ctx.on_done(move |_| {
                heard.fetch_add(1, Ordering::SeqCst);
            })
        };
        let _callbacks: Vec<_> = contexts.iter().map(listen).collect();
        dice.shuffle(&mut tree);
        thread::scope(|scope| {
            for _ in 0..4 {
                let part = tree.split_off(tree.len().saturating_sub(25));
                scope.spawn(|| {
                    for (_ctx, canceller) in part {
                        canceller.cancel();
                    }
                });
            }
            let waiting = &contexts[dice.below(contexts.len())];
            scope.spawn(|| block_on(waiting.done()));
        });
        contexts.iter().for_each(|ctx| assert_ended(ctx, CauseKind::Cancelled));
        assert_eq!(heard.load(Ordering::SeqCst), contexts.len());
    }
}

/// Go 44: from a thread that waits, and from a callback inside the parent's cancel.
#[test]
fn who_cancels_a_child_on_its_parents_end_does_not_lock_up_with_the_parents_cancel() {
    for _ in 0..ROUNDS {
        let (parent, canceller) = Context::root();
        let (child, child_canceller) = parent.child();
        let child_canceller = Arc::new(child_canceller);
        let from_callback = Arc::clone(&child_canceller);
        let callback = parent.on_done(move |_| assert!(!from_callback.cancel()));
        thread::scope(|scope| {
            scope.spawn(|| {
                block_on(parent.done());
                assert!(!child_canceller.cancel());
            });
            canceller.cancel();
        });
        assert_ended(&child, CauseKind::Cancelled);
        assert!(!callback.stop());
    }
}

/// Go 58, Extra E3: it may be derived before or after, and it may be waited on or not.
#[test]
fn a_child_derived_while_its_parent_is_cancelled_ends_for_the_parents_cause() {
    for round in 0..ROUNDS {
        let (parent, canceller) = Context::root();
        let start = Barrier::new(2);
        let (child, _child) = thread::scope(|scope| {
            let deriving = scope.spawn(|| {
                start.wait();
                let (child, canceller) = parent.child();
                if round % 2 == 0 {
                    block_on(child.done());
                }
                (child, canceller)
            });
            start.wait();
            canceller.cancel_with(Reason::client_gone());
            deriving.join().unwrap()
        });
        assert_ended(&child, CauseKind::ClientGone);
        assert_eq!(why(&child), why(&parent));
    }
}

/// Go 86: by who never waits.
#[test]
fn a_cause_that_is_polled_is_none_until_it_is_the_one_that_was_told() {
    for _ in 0..ROUNDS {
        let (ctx, canceller) = Context::root();
        let (child, _child) = ctx.child();
        thread::scope(|scope| {
            scope.spawn(|| {
                let cause = loop {
                    match child.cause() {
                        Some(cause) => break cause,
                        None => hint::spin_loop(),
                    }
                };
                assert_eq!(cause.kind(), CauseKind::Signal);
                assert!(cause.to_string().starts_with("signal SIGTERM"), "{cause}");
            });
            assert!(canceller.cancel_with(Reason::signal("SIGTERM")));
        });
    }
}

/// Go 105: whichever of the looks is the first to say so.
#[test]
fn where_one_look_says_that_the_end_has_come_all_say_so() {
    let looks: [fn(&Context) -> bool; 4] = [
        Context::is_done,
        |ctx| ctx.cause().is_some(),
        |ctx| ctx.check().is_err(),
        |ctx| poll_once(ctx.done()).is_ready(),
    ];
    for round in 0..ROUNDS {
        let (parent, canceller) = Context::root();
        let (child, _child) = parent.child();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !looks[round % 4](&child) {
                    hint::spin_loop();
                }
                assert!(looks.iter().all(|look| look(&child)));
                assert_ended(&parent, CauseKind::Cancelled);
            });
            canceller.cancel();
        });
    }
}
