//! [`chain`]: an error and what lies behind it. [`find_cause`]: the end of a context among them.

use std::error::Error;
use std::io;
use std::iter;

use crate::cause::Cause;

/// The error and its sources.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The first cause in the chain that `wanted` takes, also where an I/O error wraps it.
pub(crate) fn find_cause<'a>(
    error: &'a (dyn Error + 'static),
    wanted: &impl Fn(&Cause) -> bool,
) -> Option<&'a Cause> {
    chain(error).find_map(|error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // An I/O error hides the one it wraps: its source is the source of that.
            Some(wrapped) => find_cause(wrapped, wanted),
            None => error.downcast_ref::<Cause>().filter(|cause| wanted(cause)),
        }
    })
}
