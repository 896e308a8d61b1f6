//! [`Awaited`]: the receipts of messages that were published together.

use std::collections::VecDeque;

use downhaul_context::{Cause, Context};

use crate::error::PublishError;
use crate::publish::Receipt;

/// How many receipts more are kept before it is looked which of them are answered: each keeps
/// memory that nothing else needs, and there may be any number of messages.
const MORE: usize = 256;

/// Receipts that are not answered yet, and the first error among those that were.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    receipts: VecDeque<Receipt>,
    look_at: usize,
    failed: Option<PublishError>,
}

impl Awaited {
    pub(crate) fn add(&mut self, receipt: Receipt) {
        self.receipts.push_back(receipt);
        if self.receipts.len() >= self.look_at {
            self.take_answered();
            self.look_at = self.receipts.len() + MORE;
        }
    }

    /// A message could not be sent.
    pub(crate) fn fail(&mut self, error: PublishError) {
        self.failed.get_or_insert(error);
    }

    /// Takes those in front that are answered.
    fn take_answered(&mut self) {
        while let Some(outcome) = self.receipts.front_mut().and_then(Receipt::take_known) {
            self.receipts.pop_front();
            self.note(outcome.confirmed());
        }
    }

    /// Waits until all are answered, or `ctx` ends: `unanswered` makes an error of that.
    pub(crate) async fn all(
        mut self,
        ctx: &Context,
        unanswered: impl Fn(Cause) -> PublishError,
    ) -> Result<(), PublishError> {
        while let Some(receipt) = self.receipts.pop_front() {
            let answer = match ctx.run(receipt).await {
                Ok(outcome) => outcome.confirmed(),
                Err(cause) => Err(unanswered(cause)),
            };
            self.note(answer);
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn note(&mut self, answer: Result<(), PublishError>) {
        if let Err(error) = answer {
            self.fail(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PublishErrorKind;
    use crate::publish::PublishOutcome;

    #[test]
    fn receipts_that_are_answered_are_not_kept() {
        let mut awaited = Awaited::default();
        for _ in 0..10 * MORE {
            awaited.add(Receipt::resolved(PublishOutcome::Confirmed));
        }
        assert!(awaited.receipts.len() <= MORE, "{} are kept", awaited.receipts.len());
    }

    #[tokio::test]
    async fn the_first_error_is_told_when_all_are_answered() {
        let mut awaited = Awaited::default();
        awaited.add(Receipt::resolved(PublishOutcome::Nacked));
        let (sender, open) = Receipt::pending();
        awaited.add(open);
        (0..MORE).for_each(|_| awaited.add(Receipt::resolved(PublishOutcome::Confirmed)));
        assert!(awaited.receipts.len() > MORE, "they stand behind one that is open");
        let ctx = Context::background();
        let unanswered = |cause| PublishError::caused(PublishErrorKind::Unknown, cause);
        let mut told = std::pin::pin!(awaited.all(&ctx, unanswered));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(told.as_mut().poll(&mut cx).is_pending());
        sender.resolve(PublishOutcome::Returned("no queue".to_owned()));
        assert_eq!(told.await.unwrap_err().kind(), PublishErrorKind::Nacked);
    }
}
