//! [`Ending`]: how a handling ended, read from what the handler returns.

use downhaul_consumer::{Failure, IntoOutcome, Settlement};

use super::record::End;

/// What an observed handler may return.
///
/// An [`Outcome`](downhaul_consumer::Outcome) shows its settlement to nobody: a handler that
/// returns one records itself with [`Oracle::begin`](super::Oracle::begin).
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
        End::Failed
    }
}

impl<T: Ending> Ending for Result<T, Failure> {
    fn end(&self) -> End {
        self.as_ref().map_or(End::Failed, Ending::end)
    }
}
