//! How much there is in an outbox, counted from time to time.

use std::convert::Infallible;
use std::time::Duration;

use downhaul_context::Context;
use tokio::time::{Instant, sleep, timeout};

use crate::outbox::Outbox;
use crate::outbox::shared::Shared;

/// How often it is counted, at most.
const EVERY: Duration = Duration::from_secs(5);

/// How much longer than counting the rest after it is: a store may look at every row.
const REST: u32 = 20;

/// How long the last count may take.
const LAST: Duration = Duration::from_secs(2);

/// Counts for as long as it is polled. Who polls it does so together with what else asks the store:
/// one of them may wait for the other.
pub(super) async fn keep_counting(outbox: &dyn Outbox, shared: &Shared) -> Infallible {
    loop {
        let begun = Instant::now();
        match outbox.backlog().await {
            Ok(backlog) => shared.counted(Some(backlog)),
            Err(error) => tracing::debug!(error = error.chain(), "the outbox was not counted"),
        }
        sleep(EVERY.max(begun.elapsed().saturating_mul(REST))).await;
    }
}

/// Counts what is left when a relay has done its work, if there is time.
pub(super) async fn count_the_rest(outbox: &dyn Outbox, shared: &Shared, ctx: &Context) {
    let counting = ctx.run(timeout(LAST, outbox.backlog())).await;
    shared.counted(counting.ok().and_then(Result::ok).and_then(Result::ok));
}
