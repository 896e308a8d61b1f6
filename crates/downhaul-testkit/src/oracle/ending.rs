//! [`Ending`]: how a handling ended, read from what the handler returns.

use downhaul_consumer::{Failure, IntoOutcome, Outcome, Settlement};

use super::record::End;

/// What an observed handler may return.
pub trait Ending: IntoOutcome {
    /// How it ended.
    fn end(&self) -> End;
}

impl Ending for () {
    fn end(&self) -> End {
        End::Acked
    }
}

impl Ending for Settlement {
    fn end(&self) -> End {
        match self {
            Self::Ack => End::Acked,
            Self::DeadLetter { .. } => End::DeadLettered,
            Self::Drop { .. } => End::Dropped,
            Self::Release => End::Released,
            // A settlement that does not exist yet promises the least.
            _ => End::Retried,
        }
    }
}

impl Ending for Failure {
    fn end(&self) -> End {
        match self.settlement() {
            // Retried, or a dead letter after the last attempt.
            Settlement::Retry { .. } => End::Failed,
            settlement => settlement.end(),
        }
    }
}

impl Ending for Outcome {
    fn end(&self) -> End {
        self.settlement().end()
    }
}

impl<T: Ending> Ending for Result<T, Failure> {
    fn end(&self) -> End {
        self.as_ref().map_or_else(Ending::end, Ending::end)
    }
}
