//! [`BoxError`], and what is said of errors and of panics, for reports and log lines.

use std::any::Any;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

pub use downhaul_context::scope::BoxError;
use downhaul_context::traced::one_line;
use tokio::task::JoinError;

/// An error and all that lies behind it, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    one_line(error).to_string()
}

/// A text of others without what could break a line or play tricks on a terminal.
pub(crate) fn plain(text: &str) -> String {
    chain(BoxError::from(text).as_ref())
}

/// Why a task has no result: what it said when it panicked, or that it was aborted.
pub(crate) fn no_result(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|_| "it was aborted".to_owned(), words_of)
}

/// What was said by a panic that was caught.
pub(crate) fn words_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    let words = text.or_else(|| panic.downcast_ref::<String>().cloned());
    match words {
        Some(words) => format!("it panicked: {words}"),
        None => "it panicked".to_owned(),
    }
}

/// What a future comes to, or what it said when it panicked.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // One that has panicked is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.map_or_else(|panic| Poll::Ready(Err(words_of(panic))), |polled| polled.map(Ok))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_task_that_was_aborted_is_told_from_one_that_panicked() {
        let aborted = tokio::spawn(pending::<()>());
        aborted.abort();
        assert_eq!(no_result(aborted.await.unwrap_err()), "it was aborted");
        let panicked = tokio::spawn(async { panic!("no more paper") });
        assert_eq!(no_result(panicked.await.unwrap_err()), "it panicked: no more paper");
    }
}
