//! Making contexts, ending them, asking them and handing them on.

use std::hint::black_box;

use downhaul_context::Context;
use tokio_util::sync::CancellationToken;

use super::services;
use crate::case::Case;
use crate::peers::TOKEN;
use crate::probe::Probe;
use crate::samples::Samples;

pub(super) fn cases() -> Vec<Case> {
    let shared = "is_done, live, 2 threads on one node";
    vec![
        Case::ratio("root, create and drop", TOKEN, 0.7, root),
        Case::ratio("child of a shared parent, create and drop", TOKEN, 0.55, child),
        Case::ratio("child of a shared parent, 2 threads", TOKEN, 0.25, child).on_two_threads(),
        Case::ratio("child + cancel + drop", TOKEN, 0.65, cancel),
        Case::quoted("is_done, live", (0.4, 2.6), is_done_alone),
        Case::ratio("is_done, live", TOKEN, 0.25, is_done),
        Case::quoted(shared, (0.4, 1.7), is_done_alone).on_two_threads(),
        Case::ratio(shared, TOKEN, 0.05, is_done).on_two_threads(),
        Case::ratio("handle clone and drop", TOKEN, 0.4, clone),
        Case::ratio("handle clone and drop, 2 threads", TOKEN, 0.25, clone).on_two_threads(),
    ]
}

fn root(probe: &Probe) -> Samples {
    probe.compare(
        |lap| lap.run(|| drop(black_box(Context::root()))),
        |lap| lap.run(|| drop(black_box(CancellationToken::new()))),
    )
}

fn child(probe: &Probe) -> Samples {
    let services = services();
    probe.compare(
        |lap| lap.run(|| drop(black_box(services.ctx.child()))),
        |lap| lap.run(|| drop(black_box(services.token.child_token()))),
    )
}

fn cancel(probe: &Probe) -> Samples {
    let services = services();
    let ours = || {
        let (child, canceller) = services.ctx.child();
        canceller.cancel();
        drop(black_box(child));
    };
    let peer = || {
        let child = services.token.child_token();
        child.cancel();
        drop(black_box(child));
    };
    probe.compare(|lap| lap.run(ours), |lap| lap.run(peer))
}

/// A context in use: the child of a service's root.
fn is_done(probe: &Probe) -> Samples {
    let services = services();
    let ((child, _canceller), token) = (services.ctx.child(), services.token.child_token());
    probe.compare(
        |lap| lap.run(|| assert!(!black_box(&child).is_done())),
        |lap| lap.run(|| assert!(!black_box(&token).is_cancelled())),
    )
}

fn is_done_alone(probe: &Probe) -> Samples {
    let services = services();
    let (child, _canceller) = services.ctx.child();
    probe.alone(|lap| lap.run(|| assert!(!black_box(&child).is_done())))
}

fn clone(probe: &Probe) -> Samples {
    let services = services();
    probe.compare(
        |lap| lap.run(|| drop(black_box(services.ctx.clone()))),
        |lap| lap.run(|| drop(black_box(services.token.clone()))),
    )
}
