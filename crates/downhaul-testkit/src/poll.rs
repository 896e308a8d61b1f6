//! The one place where the test kit waits by asking again.

use std::time::{Duration, Instant};

/// Asks until there is an answer or the time is up.
///
/// Neither a booting server nor a process that is not our child can be waited for by an event: no
/// descriptor of theirs is ours. Hence a question every few milliseconds, here and nowhere else.
#[expect(clippy::disallowed_methods, reason = "real processes, real time, see above")]
pub(crate) fn poll<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
