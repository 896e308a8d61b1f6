//! `Context` against tokio-util's `CancellationToken`, which knows no deadlines, values or causes.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context as TaskContext, Waker};

use downhaul_context::{Canceller, Context};
use tokio_util::sync::CancellationToken;

use crate::compare::{Comparison, compare};
use crate::report::Row;

/// What is measured, the ratio we want, and how.
type Case = (&'static str, f64, fn() -> Comparison);

pub(crate) fn rows() -> Vec<Row> {
    let cases: [Case; 6] = [
        ("root, create and drop", 0.7, root),
        ("child of a shared parent, create and drop", 0.55, child),
        ("child, cancel, drop", 0.65, cancel),
        ("is_done, live", 0.25, is_done),
        ("clone and drop", 0.4, clone),
        ("wait: poll pending once and drop", 0.6, wait),
    ];
    let row = |(case, target, measure): Case| Row {
        area: "context",
        case,
        peer: "tokio_util::sync::CancellationToken",
        measured: measure(),
        target,
    };
    cases.into_iter().map(row).collect()
}

fn root() -> Comparison {
    compare(|| drop(black_box(Context::root())), || drop(black_box(CancellationToken::new())))
}

fn child() -> Comparison {
    let ((parent, _canceller), token) = parents();
    compare(|| drop(black_box(parent.child())), || drop(black_box(token.child_token())))
}

fn cancel() -> Comparison {
    let ((parent, _canceller), token) = parents();
    let ours = || {
        let (child, canceller) = parent.child();
        canceller.cancel();
        drop(black_box(child));
    };
    let peer = || {
        let child = token.child_token();
        child.cancel();
        drop(black_box(child));
    };
    compare(ours, peer)
}

/// A context in use: the child of a service's root, which somebody waits for.
fn is_done() -> Comparison {
    let ((parent, _canceller), token) = parents();
    let ((child, _child_canceller), child_token) = (parent.child(), token.child_token());
    let (ours, peer) = (|| black_box(&child).is_done(), || black_box(&child_token).is_cancelled());
    compare(|| assert!(!ours()), || assert!(!peer()))
}

fn clone() -> Comparison {
    let ((parent, _canceller), token) = parents();
    compare(|| drop(black_box(parent.clone())), || drop(black_box(token.clone())))
}

fn wait() -> Comparison {
    let ((parent, _canceller), token) = parents();
    let ((child, _child_canceller), child_token) = (parent.child(), token.child_token());
    compare(|| poll_once(child.done()), || poll_once(child_token.cancelled()))
}

fn parents() -> ((Context, Canceller), CancellationToken) {
    (Context::root(), CancellationToken::new())
}

/// Inlined, so that the future is polled where it was made, as `await` does.
#[inline(always)]
fn poll_once(future: impl Future) {
    let mut task = TaskContext::from_waker(Waker::noop());
    let pending = pin!(future).as_mut().poll(&mut task).is_pending();
    assert!(pending, "nothing has ended");
}
