//! The context against what people use today for each of its parts.

mod callbacks;
mod chain;
mod crowd;
mod deadline;
mod live;
mod shape;
mod tree;
mod values;
mod wait;

use downhaul_context::{Canceller, Context};
use tokio_util::sync::CancellationToken;

use crate::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    let groups: [fn() -> Vec<Case>; 9] = [
        tree::cases,
        wait::cases,
        crowd::cases,
        chain::cases,
        deadline::cases,
        values::cases,
        callbacks::cases,
        live::cases,
        shape::cases,
    ];
    groups.into_iter().flat_map(|group| group()).collect()
}

/// A service that is up, on both sides.
struct Services {
    ctx: Context,
    token: CancellationToken,
    /// What ends ours, and another request of each: a parent's first child costs more.
    _kept: (Canceller, (Context, Canceller), CancellationToken),
}

fn services() -> Services {
    let ((ctx, canceller), token) = (Context::root(), CancellationToken::new());
    let _kept = (canceller, ctx.child(), token.child_token());
    Services { ctx, token, _kept }
}
