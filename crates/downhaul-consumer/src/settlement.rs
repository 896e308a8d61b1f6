//! What a handler says of a message, and how results become that.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::TracedError;

use crate::batch::unshared;
use crate::decode::DecodeError;
use crate::error::{BoxError, chain};
use crate::publish::Outgoing;

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// It was processed.
    Ack,
    /// Processing failed: try again, after the given time or when the retry policy says. Counts as
    /// an attempt.
    Retry {
        /// When to try again, in place of the policy's backoff.
        after: Option<Duration>,
    },
    /// Give up: put it into the dead-letter queue with this reason.
    DeadLetter {
        /// Why, in a few words.
        reason: String,
    },
    /// Give up and throw it away, for messages that are known to be worthless.
    Drop {
        /// Why, in a few words.
        reason: String,
    },
    /// It was not processed: give it to someone again. Does not count as an attempt.
    ///
    /// A message that the broker has delivered before pauses in hand first, for a second and four
    /// times as long with each further delivery, up to a minute: it would come again at once. Only
    /// brokers that count deliveries know of more than one.
    Release,
}

/// Why a handler failed, and what that means for the message.
///
/// Any error turns into a `Failure` by `?`, and the message is tried again by the retry policy. An
/// error that no retry can mend is made one with [`Failure::permanent`]. A
/// [`Traced`](downhaul_context::Traced) error says that itself: if its kind is
/// [permanent](downhaul_context::Kind::is_permanent), the message becomes a dead letter, whose
/// reason is the error in one line.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{Failure, Incoming, Json};
/// use downhaul_context::Context;
///
/// async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
///     if order.body.0 == 0 {
///         return Err(Failure::permanent("an order of nothing"));
///     }
///     let _stock: u32 = "17".parse()?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Failure {
    pub(crate) settlement: Settlement,
    pub(crate) error: BoxError,
}

impl Failure {
    /// The message cannot be processed, now or later: it becomes a dead letter with the error as
    /// its reason.
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { settlement: Settlement::DeadLetter { reason: chain(error.as_ref()) }, error }
    }

    /// Try again after `delay`, in place of the retry policy's backoff.
    pub fn retry_after(delay: Duration, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { settlement: Settlement::Retry { after: Some(delay) }, error: error.into() }
    }

    /// What it asks for.
    pub fn settlement(&self) -> &Settlement {
        &self.settlement
    }
}

/// The failure and all that lies behind it, on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self.error.as_ref()))
    }
}

// `Failure` is not itself an `Error`, which is what lets every error convert into it.
impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let traced = error.downcast_ref::<TracedError>();
        // A handler may decode the body itself, where that depends on a header.
        let is_permanent = traced.is_some_and(TracedError::is_permanent);
        if is_permanent || error.is::<DecodeError>() {
            return Self::permanent(error);
        }
        Self { settlement: Settlement::Retry { after: None }, error }
    }
}

/// What a handler returns in the end: a settlement, messages to publish first, and the error if it
/// failed.
#[derive(Debug)]
pub struct Outcome {
    pub(crate) settlement: Settlement,
    pub(crate) emits: Vec<Outgoing>,
    pub(crate) error: Option<BoxError>,
    /// False where there was no sense in an attempt.
    pub(crate) is_of_attempt: bool,
}

impl Outcome {
    /// An outcome that settles the message and publishes nothing.
    pub fn new(settlement: Settlement) -> Self {
        Self { settlement, emits: Vec::new(), error: None, is_of_attempt: true }
    }

    /// That of a message whose deadline has passed before it was begun.
    pub(crate) fn expired(reason: String) -> Self {
        Self { is_of_attempt: false, ..Self::new(Settlement::DeadLetter { reason }) }
    }

    /// What becomes of the message, if all that is emitted is confirmed.
    pub fn settlement(&self) -> &Settlement {
        &self.settlement
    }

    /// Whether nothing is left to do but to acknowledge.
    pub(crate) fn is_plain_ack(&self) -> bool {
        matches!(self.settlement, Settlement::Ack) && self.emits.is_empty() && self.error.is_none()
    }

    /// Publishes `outgoing` before the message is acknowledged or given up. If that cannot be
    /// confirmed, the message is tried again instead. With one that is tried again or released,
    /// nothing is published.
    ///
    /// All that an attempt emits has 5 s together until it is confirmed, whatever is left of the
    /// time of its handler; what was confirmed of it by then is published again with the next
    /// attempt, unless the broker has [transactions](crate::Capabilities::transactions). What may
    /// take longer is published by the handler itself, with a [`Publisher`](crate::Publisher).
    #[must_use]
    pub fn emit(mut self, outgoing: Outgoing) -> Self {
        self.emits.push(outgoing);
        self
    }
}

/// What handlers may return: `()`, a [`Settlement`], an [`Outcome`], or a `Result` of these with a
/// [`Failure`].
// There is one `Result` among them, so that closures need not name the type of their error.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "it returns `()`, a `Settlement`, an `Outcome`, or a `Result` of these with a \
            `Failure`, which `?` makes of any error"
)]
pub trait IntoOutcome {
    /// Turns it into an outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for Settlement {
    fn into_outcome(self) -> Outcome {
        Outcome::new(self)
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::new(Settlement::Ack)
    }
}

impl IntoOutcome for Failure {
    fn into_outcome(self) -> Outcome {
        Outcome { error: Some(self.error), ..Outcome::new(self.settlement) }
    }
}

impl<T: IntoOutcome> IntoOutcome for Result<T, Failure> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(failure) => failure.into_outcome(),
        }
    }
}

type Classify = dyn Fn(&(dyn Error + 'static)) -> Option<Settlement> + Send + Sync;

/// What the application says of errors that a handler did not classify.
#[derive(Clone)]
pub(crate) struct Classifier(Arc<Classify>);

impl Classifier {
    pub(crate) fn new(
        classify: impl Fn(&(dyn Error + 'static)) -> Option<Settlement> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(classify))
    }

    /// What is said of `error`; of a traced one, what is said of the error itself.
    pub(crate) fn settle(&self, error: &(dyn Error + 'static)) -> Option<Settlement> {
        let error = unshared(error);
        let traced = error.downcast_ref::<TracedError>();
        let error = traced.and_then(|traced| traced.source()).unwrap_or(error);
        // Released, as where a hook panics, the message would come again and again.
        catch_unwind(AssertUnwindSafe(|| (self.0)(error))).unwrap_or_else(|_| {
            Some(Settlement::DeadLetter { reason: "the classifier panicked".to_owned() })
        })
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classifier")
    }
}
