//! A request: a child with a deadline and three values, asked four times, its values read.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use downhaul_context::Context;
use http::Extensions;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::deadline::runtime;
use super::services;
use crate::case::Case;
use crate::peers::PARTS;
use crate::probe::Probe;
use crate::samples::Samples;

const BUDGET: Duration = Duration::from_secs(5);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("request shape, ready", PARTS, 0.4, request::<false>).allocating(3),
        Case::ratio("request shape, waits once", PARTS, 0.45, request::<true>).allocating(3),
    ]
}

#[derive(Clone, Copy)]
struct Id(u64);

#[derive(Clone, Copy)]
struct Tenant(u64);

#[derive(Clone, Copy)]
struct Attempt(u64);

fn request<const WAITS: bool>(probe: &Probe) -> Samples {
    let services = services();
    let runtime = runtime();
    let _entered = runtime.enter();
    probe.compare(
        |lap| lap.run(|| assert_eq!(finish(ours::<WAITS>(&services.ctx)), 6)),
        |lap| lap.run(|| assert_eq!(finish(parts::<WAITS>(&services.token)), 6)),
    )
}

async fn ours<const WAITS: bool>(service: &Context) -> u64 {
    let (ctx, _canceller) = service.with_timeout(BUDGET);
    let ctx = ctx.with_values((Id(1), Tenant(2), Attempt(3)));
    ctx.run(handle_ours::<WAITS>(&ctx)).await.expect("nothing ends it")
}

async fn handle_ours<const WAITS: bool>(ctx: &Context) -> u64 {
    let ctx = black_box(ctx);
    assert!(!ctx.is_done() && !ctx.is_done());
    if WAITS {
        yield_once().await;
    }
    assert!(!ctx.is_done() && !ctx.is_done());
    let found = (ctx.value::<Id>(), ctx.value::<Tenant>(), ctx.value::<Attempt>());
    found
        .0
        .zip(found.1)
        .zip(found.2)
        .map_or(0, |((id, tenant), attempt)| id.0 + tenant.0 + attempt.0)
}

/// What people write today.
async fn parts<const WAITS: bool>(service: &CancellationToken) -> u64 {
    let token = service.child_token();
    let _cancel_on_drop = token.clone().drop_guard();
    let mut extensions = Extensions::new();
    extensions.insert(token.clone());
    extensions.insert(Id(1));
    extensions.insert(Tenant(2));
    extensions.insert(Attempt(3));
    tokio::select! {
        () = token.cancelled() => 0,
        handled = timeout(BUDGET, handle_parts::<WAITS>(&extensions)) => handled.unwrap_or(0),
    }
}

async fn handle_parts<const WAITS: bool>(extensions: &Extensions) -> u64 {
    let extensions = black_box(extensions);
    let Some(token) = extensions.get::<CancellationToken>() else { return 0 };
    assert!(!token.is_cancelled() && !token.is_cancelled());
    if WAITS {
        yield_once().await;
    }
    assert!(!token.is_cancelled() && !token.is_cancelled());
    let found = (extensions.get::<Id>(), extensions.get::<Tenant>(), extensions.get::<Attempt>());
    found
        .0
        .zip(found.1)
        .zip(found.2)
        .map_or(0, |((id, tenant), attempt)| id.0 + tenant.0 + attempt.0)
}

/// Pending once, as a query is. The one who polls comes again by itself.
fn yield_once() -> impl Future<Output = ()> {
    let mut polls = 0..1;
    poll_fn(move |_| polls.next().map_or(Poll::Ready(()), |_| Poll::Pending))
}

/// Inlined, so that the future is polled where it was made, as `await` does.
#[inline(always)]
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut task = TaskContext::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return output;
        }
    }
}
