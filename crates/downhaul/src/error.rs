//! Why an app did not start.

use std::error::Error;

use downhaul_context::traced::one_line;

/// An error as a component knows it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error and all that lies behind it, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    one_line(error).to_string()
}
