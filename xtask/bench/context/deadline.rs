//! Deadlines that are far away.

use std::hint::black_box;
use std::time::Duration;

use downhaul_context::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{interval, sleep};

use super::services;
use super::wait::poll_once;
use crate::case::Case;
use crate::peers::{SLEEP, TOKEN_AND_SLEEP};
use crate::probe::Probe;
use crate::samples::Samples;

pub(super) const FAR: Duration = Duration::from_secs(3600);

pub(super) fn cases() -> Vec<Case> {
    let timer = "deadline, the timer alone, 2 threads";
    vec![
        Case::ratio("child + deadline, never waited on", TOKEN_AND_SLEEP, 0.7, unwatched),
        Case::ratio("child + deadline, waited on once", TOKEN_AND_SLEEP, 0.8, waited),
        Case::ratio(timer, SLEEP, 0.3, timer_alone).on_two_threads(),
    ]
}

/// A runtime as services have it, of which the rows are a part by entering it. Its next timer is
/// never far away, so that neither side's timers have to wake its driver.
pub(super) fn runtime() -> Runtime {
    let builder = &mut Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_time().build().expect("a runtime can be built");
    runtime.spawn(async {
        let mut beat = interval(Duration::from_secs(1));
        loop {
            beat.tick().await;
        }
    });
    runtime
}

fn unwatched(probe: &Probe) -> Samples {
    let services = services();
    let (runtime, peer) = (runtime(), || (services.token.child_token(), sleep(FAR)));
    let _entered = runtime.enter();
    probe.compare(
        |lap| lap.run(|| drop(black_box(services.ctx.with_timeout(FAR)))),
        |lap| lap.run(|| drop(black_box(peer()))),
    )
}

fn waited(probe: &Probe) -> Samples {
    let services = services();
    let runtime = runtime();
    let _entered = runtime.enter();
    let ours = || {
        let (child, _canceller) = services.ctx.with_timeout(FAR);
        poll_once(child.done());
    };
    let peer = || {
        let _child = black_box(services.token.child_token());
        poll_once(sleep(FAR));
    };
    probe.compare(|lap| lap.run(ours), |lap| lap.run(peer))
}

/// Both threads use the timer of one runtime, as a service's workers do. Each has a context.
fn timer_alone(probe: &Probe) -> Samples {
    let workers = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = workers.expect("a runtime can be built");
    probe.compare(
        |lap| {
            let _entered = runtime.enter();
            let (ctx, _canceller) = Context::background().with_timeout(FAR);
            lap.run(|| poll_once(ctx.done()))
        },
        |lap| {
            let _entered = runtime.enter();
            lap.run(|| poll_once(sleep(FAR)))
        },
    )
}
