//! Waiting for an end that does not come.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Waker};

use super::services;
use crate::case::Case;
use crate::peers::TOKEN;
use crate::probe::Probe;
use crate::samples::Samples;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("wait: poll pending once, drop", TOKEN, 0.6, wait),
        Case::ratio("wait: poll pending once, drop, 2 threads", TOKEN, 0.35, wait).on_two_threads(),
    ]
}

fn wait(probe: &Probe) -> Samples {
    let services = services();
    let ((child, _canceller), token) = (services.ctx.child(), services.token.child_token());
    probe.compare(
        |lap| lap.run(|| poll_once(child.done())),
        |lap| lap.run(|| poll_once(token.cancelled())),
    )
}

/// Inlined, so that the future is polled where it was made, as `await` does.
#[inline(always)]
pub(super) fn poll_once(future: impl Future) {
    let mut task = TaskContext::from_waker(Waker::noop());
    let pending = pin!(future).as_mut().poll(&mut task).is_pending();
    assert!(pending, "nothing has ended");
}
