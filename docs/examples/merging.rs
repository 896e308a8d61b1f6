//! More than one parent: two contexts, or a context and something of another library.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Reason, RequestId};
use tokio::sync::{oneshot, watch};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    whichever_is_first();
    deadlines().await;
    foreign();
    watched().await;
}

// ANCHOR: merged
fn whichever_is_first() {
    let (session, log_out) = Context::root();
    let (request, _request) = Context::background().with_timeout(5 * SECOND);
    let request = request.with_value(RequestId::generate());

    let (query, _query) = request.merged(&session);
    assert_eq!(query.deadline(), request.deadline());
    assert!(query.value::<RequestId>().is_some());

    log_out.cancel_with(Reason::cancelled("logged out"));
    assert!(query.cause().is_some_and(|cause| cause.to_string().contains("logged out")));
    assert!(!request.is_done(), "a parent hears nothing of the other");
}
// ANCHOR_END: merged

async fn deadlines() {
    let (slow, _slow) = Context::background().derive().label("slow").timeout(5 * SECOND).build();
    let (quick, _quick) = Context::background().derive().label("quick").timeout(SECOND).build();
    let (both, _both) = slow.merged(&quick);
    assert_eq!(both.deadline(), quick.deadline());
    let cause = both.done().await;
    assert_eq!((cause.kind(), cause.path()), (CauseKind::Deadline, "quick"));
}

// ANCHOR: foreign
fn foreign() {
    let (hang_up, line) = oneshot::channel::<()>();
    let (call, _call) = Context::background().child_until(async {
        let _ = line.await;
        Reason::client_gone()
    });
    assert!(!call.is_done());

    drop(hang_up);
    // No task had to run in between: it has ended.
    assert_eq!(call.cause().map(|cause| cause.kind()), Some(CauseKind::ClientGone));
}
// ANCHOR_END: foreign

// ANCHOR: watched
async fn watched() {
    let (config, mut changes) = watch::channel(1);
    let (ctx, _canceller) = Context::background().child_until(async move {
        let _ = changes.wait_for(|version| *version > 1).await;
        Reason::cancelled("the configuration has changed")
    });

    config.send_replace(2);
    assert!(ctx.done().await.to_string().contains("configuration"));
}
// ANCHOR_END: watched
