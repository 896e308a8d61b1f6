//! [`Mouth`]: a sink that is overheard.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{BrokerError, Outgoing, PublishOutcome, Receipt, Sink};
use downhaul_context::Context;

use crate::oracle::Oracle;
use crate::oracle::record::Cause;

/// A sink by which a consumer moves messages to where they go next.
#[derive(Debug)]
pub(super) struct Mouth {
    oracle: Oracle,
    sink: Arc<dyn Sink>,
}

impl Mouth {
    pub(super) fn new(oracle: Oracle, sink: Arc<dyn Sink>) -> Self {
        Self { oracle, sink }
    }
}

#[async_trait]
impl Sink for Mouth {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let sent = self.sink.send(outgoing).await?;
        let (oracle, id) = (self.oracle.clone(), outgoing.message.id().to_owned());
        let (answer, receipt) = Receipt::pending();
        tokio::spawn(async move {
            let outcome = sent.await;
            let comes_too_late = matches!(outcome, PublishOutcome::Confirmed) && answer.is_closed();
            if comes_too_late || matches!(outcome, PublishOutcome::Unknown(_)) {
                oracle.log(Cause::PublishUnanswered { id });
            }
            answer.resolve(outcome);
        });
        Ok(receipt)
    }

    fn hindrance(&self) -> Option<BrokerError> {
        self.sink.hindrance()
    }

    async fn close(&self, ctx: &Context) {
        self.sink.close(ctx).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use downhaul_consumer::{Message, ReceiptSender};

    use super::*;
    use crate::oracle::Record;

    /// Keeps what its answers are to be given to.
    #[derive(Debug, Default)]
    struct Slow(Mutex<Vec<ReceiptSender>>);

    #[async_trait]
    impl Sink for Slow {
        async fn send(&self, _: &Outgoing) -> Result<Receipt, BrokerError> {
            let (answer, receipt) = Receipt::pending();
            self.0.lock().unwrap().push(answer);
            Ok(receipt)
        }

        async fn close(&self, _: &Context) {}
    }

    /// Whether what comes of a publish is held for a copy of its message, where its publisher
    /// waits for the answer or does not.
    async fn is_copy(outcome: Option<PublishOutcome>, waits: bool) -> bool {
        let (oracle, slow) = (Oracle::new(), Arc::new(Slow::default()));
        let mouth = Mouth::new(oracle.clone(), Arc::clone(&slow) as _);
        let outgoing = Outgoing::to_queue("q", Message::new("").with_id("1"));
        let receipt = mouth.send(&outgoing).await.unwrap();
        let waiting = waits.then_some(receipt);
        let answer = slow.0.lock().unwrap().pop().unwrap();
        match outcome {
            Some(outcome) => answer.resolve(outcome),
            None => drop(answer),
        }
        match waiting {
            Some(receipt) => drop(receipt.await),
            None => {
                while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        let copy = Record::Cause(Cause::PublishUnanswered { id: "1".to_owned() });
        oracle.records().unwrap().contains(&copy)
    }

    #[tokio::test]
    async fn what_nobody_heard_the_answer_to_may_be_there_twice_and_is_logged() {
        assert!(is_copy(None, true).await, "no answer");
        assert!(is_copy(Some(PublishOutcome::Confirmed), false).await, "given up before");
        assert!(!is_copy(Some(PublishOutcome::Confirmed), true).await, "it is gone from here");
        assert!(!is_copy(Some(PublishOutcome::Nacked), true).await, "it is nowhere else");
        assert!(!is_copy(Some(PublishOutcome::Nacked), false).await, "nor when given up");
    }
}
