//! What is known of a message whose publish failed.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, MemoryBroker, Message, MessageObserver, Outgoing,
    PublishErrorKind, PublishOutcome, Published, Publisher, Receipt, ReceiptSender, Sink, Source,
    Subscription,
};
use downhaul_context::{CauseKind, Context};
use tokio::time::timeout;

use crate::scripted::{Scripted, Send};
use crate::support::subscription;

const SECOND: Duration = Duration::from_secs(1);

fn message() -> Outgoing {
    Outgoing::to_topic("t", Message::new("").with_id("one"))
}

async fn publish(sends: impl IntoIterator<Item = Send>) -> Result<(), PublishErrorKind> {
    let publisher = Publisher::new(Scripted::new(sends));
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    publisher.publish(&ctx, message()).await.map_err(|error| error.kind())
}

#[tokio::test]
async fn what_is_published_under_a_context_that_has_ended_is_not_sent() {
    let ((ctx, canceller), broker) = (Context::root(), MemoryBroker::new());
    let _declared = broker.source(&ctx, &subscription()).await.unwrap();
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&ctx, message()).await.unwrap();
    canceller.cancel();
    let error = publisher.publish(&ctx, message()).await.unwrap_err();
    assert_eq!((error.kind(), broker.depth("q").ready), (PublishErrorKind::NotSent, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_sink_is_opened_again_and_the_message_sent_once() {
    let broker = Scripted::new([Send::Dead, Send::Dead, Send::Confirmed]);
    let publisher = Publisher::new(broker.clone());
    publisher.publish(&Context::background(), message()).await.unwrap();
    assert_eq!(*broker.opened.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_never_sent_in_time_is_not_sent() {
    let dead = std::iter::repeat_n(Send::Dead, 1000);
    assert_eq!(publish(dead).await, Err(PublishErrorKind::NotSent));
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_nacked() {
    assert_eq!(publish([Send::Nacked]).await, Err(PublishErrorKind::Nacked));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_answer_was_lost_is_unknown_not_failed() {
    assert_eq!(publish([Send::Unanswered]).await, Err(PublishErrorKind::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_room_until_the_end_is_not_sent() {
    assert_eq!(publish([Send::Stuck]).await, Err(PublishErrorKind::NotSent));
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_the_end_of_the_context_where_that_was_the_reason() {
    let publisher = Publisher::new(Scripted::new([]));
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let error = publisher.publish(&ctx, message()).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::NotSent);
    assert_eq!(error.cause().unwrap().kind(), CauseKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_message_is_sent_again_with_the_same_id_if_asked() {
    let broker = Scripted::new([Send::Unanswered, Send::Dead, Send::Confirmed]);
    let publisher = Publisher::new(broker.clone());
    publisher.publish_until_known(&Context::background(), message()).await.unwrap();
    assert_eq!(*broker.ids.lock().unwrap(), ["one"; 3]);
}

#[tokio::test(start_paused = true)]
async fn once_in_doubt_a_message_stays_unknown_whatever_is_said_of_a_later_try() {
    let never_sent = vec![Send::Dead; 1000];
    for later in [never_sent, vec![Send::Nacked], vec![Send::Refused]] {
        let said = format!("{:?}", later[0]);
        let publisher = Publisher::new(Scripted::new([vec![Send::Unanswered], later].concat()));
        let (ctx, _canceller) = Context::background().with_timeout(SECOND);
        let error = publisher.publish_until_known(&ctx, message()).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unknown, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_unknown_is_sent_again_after_pauses() {
    let lost = [Send::Lost; 1000];
    let broker = Scripted::new(lost);
    let publisher = Publisher::new(broker.clone());
    let (ctx, _canceller) = Context::background().with_timeout(60 * SECOND);
    let error = publisher.publish_until_known(&ctx, message()).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unknown);
    let sent = broker.ids.lock().unwrap().len();
    assert!((20..100).contains(&sent), "{sent} times in a minute");
}

/// Hands on what it is told of publishes.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(String, Option<PublishErrorKind>, Duration)>>);

impl MessageObserver for Told {
    fn published(&self, publish: &Published<'_>) {
        let topic = publish.outgoing.destination.name().to_owned();
        self.0.lock().unwrap().push((topic, publish.error, publish.took));
    }
}

#[tokio::test(start_paused = true)]
async fn the_observer_hears_how_each_publish_ended_and_how_long_it_took() {
    let told = Arc::new(Told::default());
    let sends = [Send::Confirmed, Send::Nacked, Send::Stuck];
    let publisher = Publisher::with_observer(Scripted::new(sends), told.clone());
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    for _ in 0..3 {
        let _ = publisher.publish(&ctx, message()).await;
    }
    let one = |error, took| ("t".to_owned(), error, took);
    let (nacked, unsent) = (PublishErrorKind::Nacked, PublishErrorKind::NotSent);
    let expected =
        [one(None, Duration::ZERO), one(Some(nacked), Duration::ZERO), one(Some(unsent), SECOND)];
    assert_eq!(*told.0.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn of_a_message_that_is_only_sent_the_observer_hears_before_its_answer() {
    let told = Arc::new(Told::default());
    let broker = Arc::new(Held::default());
    let publisher = Publisher::with_observer(broker, told.clone());
    let _receipt = publisher.send(&Context::background(), message()).await.unwrap();
    assert_eq!(told.0.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_with_a_window_has_the_observer_that_it_had() {
    let told = Arc::new(Told::default());
    let observed = Publisher::with_observer(Arc::new(Held::default()), told.clone());
    let publisher = observed.with_window(1, 1000);
    let ctx = Context::background();
    let _receipt = publisher.send(&ctx, message()).await.unwrap();
    assert_eq!(told.0.lock().unwrap().len(), 1);
    assert!(timeout(SECOND, publisher.send(&ctx, message())).await.is_err(), "one is under way");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_under_way_than_the_window_allows() {
    let broker = Arc::new(Held::default());
    let publisher = Publisher::new(broker.clone()).with_window(3, 1000);
    let ctx = Context::background();
    let send = |size| publisher.send(&ctx, Outgoing::to_topic("t", Message::new(vec![0; size])));
    let receipts = [send(10).await.unwrap(), send(10).await.unwrap(), send(10).await.unwrap()];
    assert!(timeout(SECOND, send(10)).await.is_err(), "three are under way");
    broker.answer(1);
    let fourth = send(10).await.unwrap();
    broker.answer(3);
    // Nobody waited for the receipts, and their places are free.
    drop(receipts);
    assert!(matches!(fourth.await, PublishOutcome::Confirmed));
    let large = Message::new(vec![0; 400]).with_header("name", "x".repeat(496));
    let large = publisher.send(&ctx, Outgoing::to_topic("t", large)).await.unwrap();
    assert!(timeout(SECOND, send(200)).await.is_err(), "by bytes, there is no room");
    broker.answer(1);
    large.await;
    let larger_than_all = send(5000).await.unwrap();
    assert!(timeout(SECOND, send(1)).await.is_err());
    assert!(timeout(SECOND, send(0)).await.is_err(), "an empty one waits for its turn, too");
    drop(larger_than_all);
    assert!(timeout(SECOND, send(1)).await.is_err(), "a receipt that is dropped is still open");
    broker.answer(1);
    drop(send(1).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn flushing_waits_for_every_answer_and_ends_with_its_context() {
    let broker = Arc::new(Held::default());
    let publisher = Publisher::new(broker.clone());
    let ctx = Context::background();
    publisher.flush(&ctx).await.unwrap();
    for _ in 0..3 {
        drop(publisher.send(&ctx, message()).await.unwrap());
    }
    broker.answer(2);
    let (bounded, _canceller) = ctx.with_timeout(SECOND);
    assert_eq!(publisher.flush(&bounded).await.unwrap_err().kind(), CauseKind::Deadline);
    broker.answer(1);
    publisher.flush(&ctx).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_ends_with_its_context_says_what_was_in_its_way() {
    let publisher = Publisher::new(Arc::new(Held::default())).with_window(1, 1000);
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let unanswered = publisher.publish(&ctx, message()).await.unwrap_err();
    drop(publisher.send(&Context::background(), message()).await.unwrap());
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let without_room = publisher.send(&ctx, message()).await.unwrap_err();
    let publisher = Publisher::new(Arc::new(Held::default()));
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let of_several = publisher.publish_all(&ctx, [message(), message()]).await.unwrap_err();
    let kinds = [unanswered.kind(), without_room.kind(), of_several.kind()];
    let (unknown, not_sent) = (PublishErrorKind::Unknown, PublishErrorKind::NotSent);
    assert_eq!(kinds, [unknown, not_sent, unknown]);
    for error in [unanswered, without_room, of_several] {
        assert_eq!(error.source().unwrap().to_string(), "it holds them");
    }
}

/// A broker that takes every message and answers when it is told to.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<VecDeque<ReceiptSender>>>);

impl Held {
    fn answer(&self, count: usize) {
        for _ in 0..count {
            self.0.lock().unwrap().pop_front().unwrap().resolve(PublishOutcome::Confirmed);
        }
    }
}

#[async_trait]
impl Broker for Held {
    fn system(&self) -> &'static str {
        "held"
    }

    async fn source(
        &self,
        _ctx: &Context,
        _subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Err(BrokerError::new(BrokerErrorKind::Configuration, "it only publishes"))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Ok(Arc::new(self.clone()))
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Sink for Held {
    async fn send(&self, _outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let (sender, receipt) = Receipt::pending();
        self.0.lock().unwrap().push_back(sender);
        Ok(receipt)
    }

    fn hindrance(&self) -> Option<BrokerError> {
        Some(BrokerError::new(BrokerErrorKind::Unreachable, "it holds them"))
    }

    async fn close(&self, _ctx: &Context) {}
}
