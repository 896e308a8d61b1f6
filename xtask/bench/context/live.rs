//! What a context takes up for as long as it lives.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Waker};

use tokio::time::sleep;

use super::deadline::{FAR, runtime};
use super::services;
use crate::case::{Case, Goal};
use crate::peers::{TOKEN, TOKEN_AND_SLEEP};
use crate::probe::Probe;
use crate::samples::Samples;

const CHILDREN: u32 = 1000;

pub(super) fn cases() -> Vec<Case> {
    let armed = "live bytes a child, timer armed";
    vec![
        Case::new("live bytes a child", TOKEN, Goal::LiveBytes(96.0), child).allocating(1),
        Case::new(armed, TOKEN_AND_SLEEP, Goal::LiveBytes(160.0), timed).allocating(1),
    ]
}

fn child(probe: &Probe) -> Samples {
    let services = services();
    probe.compare(
        |lap| {
            let mut kept = room();
            lap.once(CHILDREN, || kept.extend((0..CHILDREN).map(|_| services.ctx.child())))
        },
        |lap| {
            let mut kept = room();
            lap.once(CHILDREN, || kept.extend((0..CHILDREN).map(|_| services.token.child_token())))
        },
    )
}

/// The frame in which ours waits is its caller's, but what it takes beyond the peer's counts: no
/// timer hides in it. The peer's sleep is its timer.
fn timed(probe: &Probe) -> Samples {
    let services = services();
    let runtime = runtime();
    let _entered = runtime.enter();
    let frame = size_of_val(&services.token.cancelled());
    probe.compare(
        |lap| {
            let mut kept = room();
            let children = (0..CHILDREN).map(|_| services.ctx.with_timeout(FAR));
            let made = lap.once(CHILDREN, || kept.extend(children));
            let mut waits: Vec<_> = kept.iter().map(|(ctx, _)| Box::pin(ctx.done())).collect();
            let beyond = waits.iter().map(|wait| size_of_val(&**wait).saturating_sub(frame)).sum();
            made.and(lap.once(0, || waits.iter_mut().for_each(poll))).and_bytes(beyond)
        },
        |lap| {
            let (mut kept, mut waits) = (room(), room());
            lap.once(CHILDREN, || {
                kept.extend((0..CHILDREN).map(|_| services.token.child_token()));
                waits.extend((0..CHILDREN).map(|_| Box::pin(sleep(FAR))));
                waits.iter_mut().for_each(poll);
            })
        },
    )
}

fn room<T>() -> Vec<T> {
    Vec::with_capacity(CHILDREN as usize)
}

fn poll(wait: &mut Pin<Box<impl Future>>) {
    let pending = wait.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending();
    assert!(pending, "nothing has ended");
}
