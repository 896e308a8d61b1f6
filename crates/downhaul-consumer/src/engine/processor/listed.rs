//! [`listed`]: work that shows in the list of what is in flight, once it has to wait.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::shared::{InFlight, Shared};

/// Runs `work`, and lists it from its first wait to its end. What is ready at once was never there
/// to be seen.
pub(super) async fn listed<F: Future>(
    shared: &Arc<Shared>,
    entry: impl FnOnce() -> InFlight,
    work: F,
) -> F::Output {
    let mut work = pin!(work);
    let at_once = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    if let Poll::Ready(output) = at_once {
        return output;
    }
    let _listing = shared.enter(entry());
    work.await
}
