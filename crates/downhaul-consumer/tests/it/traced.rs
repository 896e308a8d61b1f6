//! Messages whose handlers fail with traced errors: kinds decide, and dead letters say why in one
//! line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::headers::{DEAD_ERROR, DEAD_REASON};
use downhaul_consumer::{
    Batches, BrokerError, BrokerErrorKind, Consumer, Failure, Incoming, MemoryBroker, Message,
    MessageObserver, Outgoing, Processed, Publisher, RetryPolicy, Settlement,
};
use downhaul_context::{Class, Context, Kind, RequestId, ResultExt, Traced};
use tokio::sync::mpsc;

use crate::support::{spawn, subscription, until};

#[derive(Debug, thiserror::Error)]
enum StockError {
    #[error("an order of nothing")]
    Nothing,
    #[error("the stock cannot be read")]
    Store(#[source] io::Error),
}

impl Kind for StockError {
    fn class(&self) -> Class {
        match self {
            Self::Nothing => Class::Invalid,
            Self::Store(error) => error.class(),
        }
    }
}

type Reserved = Result<(), Traced<StockError>>;

fn reserve(ctx: &Context, error: StockError) -> Reserved {
    let failed = Err(error).layer(ctx, "stock.reserve").kv_secret("token", "s3cret");
    failed.layer(ctx, "orders.created").kv("count", 0)
}

fn store() -> StockError {
    StockError::Store(io::Error::other("disk on fire\nwith smoke"))
}

/// Hands on whether each attempt needs a line at ERROR.
#[derive(Debug)]
struct Tells(mpsc::UnboundedSender<bool>);

impl MessageObserver for Tells {
    fn processed(&self, attempt: &Processed<'_>) {
        let _ = self.0.send(attempt.is_logged);
    }
}

async fn dead_letter(consumer: Consumer) -> (String, Option<String>) {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let twice = RetryPolicy::default().attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    spawn(consumer.retry(twice), &ctx, &broker).await;
    let request = ctx.with_value(RequestId::parse("r-1").unwrap());
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&request, Outgoing::to_topic("t", Message::new(""))).await.unwrap();
    until(|| broker.depth("q.dead").ready == 1).await;
    let dead = broker.ready("q.dead").remove(0);
    let header = |name| dead.headers().get(name).map(str::to_owned);
    (header(DEAD_REASON).unwrap(), header(DEAD_ERROR))
}

const NOTHING: &str = "orders.created{count=0}: stock.reserve{token=<redacted>}: an order of \
                       nothing [request_id=r-1]";
const STORE: &str = "orders.created{count=0}: stock.reserve{token=<redacted>}: the stock cannot be \
                     read: disk on fire\\nwith smoke [request_id=r-1]";

#[tokio::test(start_paused = true)]
async fn a_permanent_kind_is_a_dead_letter_at_once_whose_reason_is_the_line_without_secrets() {
    let handle = |ctx: Context, _: Incoming<Message>| async move {
        reserve(&ctx, StockError::Nothing)?;
        Ok::<(), Failure>(())
    };
    let (reason, error) = dead_letter(Consumer::new(subscription(), handle)).await;
    assert_eq!((&*reason, error.as_deref()), (NOTHING, Some(NOTHING)));
}

#[tokio::test(start_paused = true)]
async fn a_closure_need_not_name_the_type_of_its_error() {
    let handle = |ctx: Context, _: Incoming<Message>| async move {
        reserve(&ctx, StockError::Nothing)?;
        Ok(())
    };
    let (reason, _) = dead_letter(Consumer::new(subscription(), handle)).await;
    assert_eq!(reason, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn any_other_kind_is_tried_again_and_its_last_line_is_kept() {
    let handle = |ctx: Context, _: Incoming<Message>| async move { Ok(reserve(&ctx, store())?) };
    let (reason, error) = dead_letter(Consumer::new(subscription(), handle)).await;
    assert_eq!(reason, format!("failed 2 times, the last time: {STORE}"));
    assert_eq!(error.as_deref(), Some(STORE));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_with_a_traced_error_says_the_same_of_each_message() {
    let handle = |ctx: Context, _: Vec<Incoming<Message>>| async move {
        let ctx = ctx.with_value(RequestId::parse("r-1").unwrap());
        Ok(reserve(&ctx, StockError::Nothing)?)
    };
    let consumer = Consumer::batches(subscription(), Batches::of(1), handle);
    let (reason, error) = dead_letter(consumer).await;
    assert_eq!((&*reason, error.as_deref()), (NOTHING, Some(NOTHING)));
}

#[tokio::test(start_paused = true)]
async fn a_classifier_is_given_the_error_itself() {
    let handle = |ctx: Context, _: Incoming<Message>| async move { Ok(reserve(&ctx, store())?) };
    let consumer = Consumer::new(subscription(), handle).classify(|error| {
        let reason = "hopeless".to_owned();
        error.is::<StockError>().then_some(Settlement::DeadLetter { reason })
    });
    assert_eq!(dead_letter(consumer).await.0, "hopeless");
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_has_logged_needs_no_second_line() {
    for logs in [false, true] {
        let handle = move |ctx: Context, _: Incoming<Message>| async move {
            let reserved = reserve(&ctx, StockError::Nothing);
            if let (Err(error), true) = (&reserved, logs) {
                error.log_once(|| tracing::error!(%error, "logged by the handler"));
            }
            Ok(reserved?)
        };
        let (sender, mut told) = mpsc::unbounded_channel();
        let consumer = Consumer::new(subscription(), handle).observer(Arc::new(Tells(sender)));
        dead_letter(consumer).await;
        assert_eq!(told.recv().await, Some(logs));
    }
}

#[test]
fn the_errors_of_this_crate_are_kinds_and_only_the_messages_own_fault_is_permanent() {
    let kinds = [
        (BrokerErrorKind::Closed, Class::Unavailable, false),
        (BrokerErrorKind::Configuration, Class::Internal, false),
        (BrokerErrorKind::Message, Class::Internal, true),
        (BrokerErrorKind::Unreachable, Class::Unavailable, false),
    ];
    for (kind, class, is_permanent) in kinds {
        let error = BrokerError::new(kind, "publish an order");
        assert_eq!((error.class(), Kind::is_permanent(&error)), (class, is_permanent));
        let failure = Failure::from(Traced::new(&Context::background(), "publish", error));
        let is_dead = matches!(failure.settlement(), Settlement::DeadLetter { .. });
        assert_eq!(is_dead, is_permanent);
    }
}
