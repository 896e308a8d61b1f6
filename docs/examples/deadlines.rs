//! Deadlines are budgets: who gives one, who spends it, and what is left.

use std::future::pending;
use std::time::Duration;

use downhaul_context::{Cause, CauseKind, Context};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

// ANCHOR: paused
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    budget().await;
    let begun = Instant::now();
    page_wrong().await;
    assert_eq!(begun.elapsed().as_secs(), 3);

    let begun = Instant::now();
    page_right().await;
    assert_eq!(begun.elapsed().as_secs(), 2);
    // ANCHOR_END: paused

    with_a_reserve().await;
    with_retries().await;
    edges();
}

// ANCHOR: budget
async fn budget() {
    let (request, _request) = Context::background().with_timeout(250 * MS);
    // It may ask for more than there is, and gets what its parent has left.
    let (query, _query) = request.derive().label("db.query").timeout(SECOND).build();
    assert_eq!(query.deadline(), request.deadline());

    // It may ask for less. Its own deadline does not end the request.
    let (query, _query) = request.derive().label("db.query").timeout(100 * MS).build();
    let cause = query.done().await;
    println!("{cause}"); // deadline exceeded: "db.query" budget 100ms set at src/db.rs:41:35, …
    assert_eq!(cause.kind(), CauseKind::Deadline);
    assert!(request.remaining().is_some_and(|left| left <= 150 * MS));
}
// ANCHOR_END: budget

/// A service that does not answer.
async fn call() {
    pending().await
}

// ANCHOR: adds_up
/// Wrong: three timeouts of a second are three seconds. The client left after two.
async fn page_wrong() {
    for _part in ["head", "list", "foot"] {
        let _late = timeout(SECOND, call()).await;
    }
}

/// Right: each part has a second, and all of them have two.
async fn page_right() {
    let (request, _request) = Context::background().with_timeout(2 * SECOND);
    for part in ["head", "list", "foot"] {
        let (ctx, _ctx) = request.derive().label(part).timeout(SECOND).build();
        let _late = ctx.run(call()).await;
    }
}
// ANCHOR_END: adds_up

// ANCHOR: reserve
/// Leaves some of the budget for an answer that says what was missing.
async fn answer(ctx: &Context) -> Result<&'static str, Cause> {
    let reserve = 50 * MS;
    let left = ctx.remaining().map_or(Duration::MAX, |left| left.saturating_sub(reserve));
    let (query, _query) = ctx.with_timeout(left);
    let found = query.run(call()).await;
    ctx.check()?; // a client that is gone needs no answer
    Ok(if found.is_ok() { "all of it" } else { "what is in the cache" })
}
// ANCHOR_END: reserve

async fn with_a_reserve() {
    let (request, _request) = Context::background().with_timeout(250 * MS);
    assert!(matches!(answer(&request).await, Ok("what is in the cache")));
    assert_eq!(request.remaining(), Some(50 * MS));
}

// ANCHOR: retries
/// Tries again for as long as another try can succeed.
async fn with_retries() {
    let shortest = 40 * MS;
    let (request, _request) = Context::background().with_timeout(250 * MS);
    let mut tries = 0;
    while request.remaining().is_none_or(|left| left >= shortest) {
        tries += 1;
        let (attempt, _attempt) = request.with_timeout(100 * MS);
        if attempt.run(call()).await.is_ok() {
            break;
        }
        sleep(5 * MS).await;
    }
    assert_eq!(tries, 3, "100 ms, 100 ms, and the 40 ms that were left");
}
// ANCHOR_END: retries

// ANCHOR: edges
fn edges() {
    let ctx = Context::background();
    // No budget, or a deadline that has passed: born ended.
    assert!(ctx.with_timeout(Duration::ZERO).0.is_done());
    assert!(ctx.with_deadline(Instant::now()).0.is_done());
    // A budget beyond the clock: no deadline.
    assert_eq!(ctx.with_timeout(Duration::MAX).0.deadline(), None);
}
// ANCHOR_END: edges
