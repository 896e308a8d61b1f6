//! How a handler asks for another deadline.

use std::time::Duration;

use downhaul_context::Context;

use crate::lifetime::in_flight::InFlight;

/// A context with the values of `ctx` and another deadline.
pub(crate) fn set_timeout(request: Option<&InFlight>, ctx: &Context, timeout: Duration) -> Context {
    if let Some(request) = request {
        return request.grant_by_handler(ctx, timeout);
    }
    // Who answers at the deadline is not ours: there is nobody to ask for more.
    let (shortened, canceller) = ctx.with_timeout(timeout);
    canceller.disarm();
    shortened
}
