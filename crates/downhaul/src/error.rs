//! Why an app did not start.

use std::error::Error;

/// An error as a component knows it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error and all that lies behind it, on one line; a source whose text is in its parent's
/// already is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        let words = source.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = source.source();
    }
    text
}
