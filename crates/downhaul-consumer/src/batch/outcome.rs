//! What a handler of batches returns.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::error::BoxError;
use crate::settlement::{Failure, IntoOutcome, Outcome, Settlement};

/// What handlers of batches may return: one result for all, `()` or `Result<(), Failure>`, or a
/// `Vec` with a result for each message, in their order.
pub trait IntoOutcomes {
    /// An outcome for each of `count` messages.
    fn into_outcomes(self, count: usize) -> Vec<Outcome>;
}

impl IntoOutcomes for () {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        (0..count).map(|_| Outcome::new(Settlement::Ack)).collect()
    }
}

impl<T: IntoOutcome> IntoOutcomes for Vec<T> {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        if self.len() != count {
            let words = format!("the handler returned {} results for {count} messages", self.len());
            return all_failed(&Failure::permanent(words), count);
        }
        self.into_iter().map(IntoOutcome::into_outcome).collect()
    }
}

impl<T: IntoOutcomes> IntoOutcomes for Result<T, Failure> {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        match self {
            Ok(value) => value.into_outcomes(count),
            Err(failure) => failure.into_outcomes(count),
        }
    }
}

impl IntoOutcomes for Failure {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        let Self { settlement, error } = self;
        let shared = Shared(Arc::new(error));
        let failure = |shared| Self { settlement: settlement.clone(), error: Box::new(shared) };
        (0..count).map(|_| failure(shared.clone()).into_outcome()).collect()
    }
}

fn all_failed(failure: &Failure, count: usize) -> Vec<Outcome> {
    let words = failure.to_string();
    (0..count).map(|_| Failure::permanent(words.clone()).into_outcome()).collect()
}

/// The error itself, where it is one for many messages.
pub(crate) fn unshared<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.downcast_ref().map_or(error, |Shared(error)| error.as_ref().as_ref())
}

/// One error for many messages.
#[derive(Clone)]
struct Shared(Arc<BoxError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
