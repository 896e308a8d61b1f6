//! Sinks that are opened, lost and closed, and receipts for what was sent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Message, Outgoing, PublishErrorKind, PublishOutcome,
    Publisher, Receipt, ReceiptSender, Sink, Source, Subscription,
};
use downhaul_context::Context;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{SECOND, until};

/// A broker that answers what a message asks for by its id. Its openings fail so often before one
/// succeeds, and take a turn of others.
#[derive(Clone, Debug, Default)]
struct Asked {
    fails: Arc<AtomicU32>,
    openings: Arc<Mutex<Vec<Instant>>>,
    sends: Arc<AtomicU32>,
    closed: Arc<AtomicU32>,
    held: Arc<Mutex<Vec<ReceiptSender>>>,
}

fn broken(words: &str) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Unreachable, words)
}

#[async_trait]
impl Broker for Asked {
    fn system(&self) -> &'static str {
        "asked"
    }

    async fn source(
        &self,
        _ctx: &Context,
        _subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Err(broken("it only publishes"))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.openings.lock().unwrap().push(Instant::now());
        tokio::task::yield_now().await;
        let fails = self.fails.load(Ordering::SeqCst);
        self.fails.store(fails.saturating_sub(1), Ordering::SeqCst);
        if fails > 0 { Err(broken("no route")) } else { Ok(Arc::new(self.clone())) }
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Sink for Asked {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        self.sends.fetch_add(1, Ordering::SeqCst);
        match outgoing.message.id() {
            "nack" => Ok(Receipt::resolved(PublishOutcome::Nacked)),
            "return" => Ok(Receipt::resolved(PublishOutcome::Returned("nobody".to_owned()))),
            "refuse" => Err(BrokerError::new(BrokerErrorKind::Message, "too large")),
            "hold" => {
                let (sender, receipt) = Receipt::pending();
                self.held.lock().unwrap().push(sender);
                Ok(receipt)
            }
            _ => Ok(Receipt::resolved(PublishOutcome::Confirmed)),
        }
    }

    async fn close(&self, _ctx: &Context) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// What must come without the clock.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SECOND, what).await.expect("it comes")
}

fn outgoing(id: &str) -> Outgoing {
    Outgoing::to_topic("t", Message::new("").with_id(id))
}

fn asked() -> (Asked, Publisher) {
    let broker = Asked::default();
    (broker.clone(), Publisher::new(Arc::new(broker)))
}

#[tokio::test(start_paused = true)]
async fn of_many_messages_the_first_failure_is_told_once_all_that_were_sent_are_answered_for() {
    let (ctx, (broker, publisher)) = (Context::background(), asked());
    let publish = |ids: [&str; 3]| publisher.publish_all(&ctx, ids.map(outgoing));
    let error = publish(["nack", "return", "yes"]).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Nacked, "the first");
    let mut publishing = std::pin::pin!(publish(["hold", "refuse", "yes"]));
    assert!(publishing.as_mut().now_or_never().is_none(), "one is not answered for");
    assert_eq!(broker.sends.load(Ordering::SeqCst), 5, "nothing follows what cannot be sent");
    broker.held.lock().unwrap().remove(0).resolve(PublishOutcome::Confirmed);
    assert_eq!(publishing.await.unwrap_err().kind(), PublishErrorKind::Refused);
    let mut publishing = std::pin::pin!(publish(["nack", "hold", "yes"]));
    assert!(publishing.as_mut().now_or_never().is_none(), "one is not answered for");
    broker.held.lock().unwrap().remove(0).resolve(PublishOutcome::Confirmed);
    assert_eq!(publishing.await.unwrap_err().kind(), PublishErrorKind::Nacked);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_before_the_end_of_the_context_is_unknown() {
    let (_broker, publisher) = asked();
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let error = publisher.publish_all(&ctx, [outgoing("hold")]).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unknown);
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let error = publisher.publish(&ctx, outgoing("hold")).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unknown);
    assert!(error.cause().is_some() && !error.is_certainly_unsent());
}

#[tokio::test(start_paused = true)]
async fn a_sink_is_opened_once_for_all_who_wait_for_it_and_kept() {
    let (ctx, (broker, publisher)) = (Context::background(), asked());
    let publishing = (0..10).map(|_| publisher.publish(&ctx, outgoing("yes")));
    join_all(publishing).await.into_iter().for_each(Result::unwrap);
    publisher.publish(&ctx, outgoing("yes")).await.unwrap();
    publisher.publish(&ctx, outgoing("refuse")).await.unwrap_err();
    publisher.publish(&ctx, outgoing("yes")).await.unwrap();
    assert_eq!(broker.openings.lock().unwrap().len(), 1, "what one refuses kills no sink");
    publisher.close(&ctx).await;
    publisher.close(&ctx).await;
    assert_eq!(broker.closed.load(Ordering::SeqCst), 1);
    publisher.publish(&ctx, outgoing("yes")).await.unwrap();
    assert_eq!(broker.openings.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_asked_after_growing_pauses_and_its_error_is_told() {
    let (broker, publisher) = asked();
    broker.fails.store(u32::MAX, Ordering::SeqCst);
    let (ctx, _canceller) = Context::background().with_timeout(60 * SECOND);
    let error = publisher.publish(&ctx, outgoing("yes")).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::NotSent);
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "no route", "and not only that the time was over");
    let openings = broker.openings.lock().unwrap().clone();
    for (pair, full) in openings.windows(2).zip([50, 100, 200, 400, 800, 1600, 2000, 2000]) {
        let pause = (pair[1] - pair[0]).as_millis();
        assert!((full / 2..=full + 1).contains(&pause), "{pause} of {full} ms");
    }
    assert!(openings.len() > 8);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_wakes_who_waits_for_it_last_and_who_drops_its_sender_answers_as_well() {
    let (sender, mut receipt) = Receipt::pending();
    assert!((&mut receipt).now_or_never().is_none());
    let waiting = tokio::spawn(receipt);
    tokio::task::yield_now().await;
    sender.resolve(PublishOutcome::Nacked);
    assert!(matches!(in_time(waiting).await.unwrap(), PublishOutcome::Nacked));
    let (sender, receipt) = Receipt::pending();
    let waiting = tokio::spawn(receipt);
    tokio::task::yield_now().await;
    drop(sender);
    let PublishOutcome::Unknown(error) = in_time(waiting).await.unwrap() else {
        panic!("it is unknown")
    };
    assert_eq!(error.kind(), BrokerErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_nothing_lets_one_through_and_one_without_end_all() {
    let (ctx, (broker, publisher)) = (Context::background(), asked());
    let none = publisher.clone().with_window(0, 0);
    let send = |publisher: Publisher| async move {
        publisher.send(&Context::background(), outgoing("hold")).await
    };
    let first = in_time(send(none.clone())).await.unwrap();
    let second = tokio::spawn(send(none));
    tokio::task::yield_now().await;
    assert_eq!(broker.sends.load(Ordering::SeqCst), 1);
    broker.held.lock().unwrap().remove(0).resolve(PublishOutcome::Confirmed);
    assert!(matches!(first.await, PublishOutcome::Confirmed));
    drop(in_time(second).await.unwrap().unwrap());
    until(|| broker.sends.load(Ordering::SeqCst) == 2).await;
    let endless = publisher.with_window(usize::MAX, usize::MAX);
    endless.publish(&ctx, outgoing("yes")).await.unwrap();
    tokio::time::timeout(Duration::ZERO, endless.flush(&ctx)).await.unwrap().unwrap();
}
