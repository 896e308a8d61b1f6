//! Why an app did not start.

use std::any::Any;
use std::error::Error;

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

/// What a task said when it panicked.
pub(crate) fn panicked(error: JoinError) -> String {
    words_of(error.try_into_panic().ok())
}

/// The same of what was caught.
pub(crate) fn words_of(panic: Option<Box<dyn Any + Send>>) -> String {
    let words = panic.as_ref().and_then(|panic| {
        let text = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
    });
    match words {
        Some(words) => format!("it panicked: {words}"),
        None => "it panicked".to_owned(),
    }
}
