//! What handlers emit, and what cannot be handed over.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::headers::{DEAD_ERROR, DEAD_REASON};
use downhaul_consumer::{
    Broker, BrokerError, Consumer, Failure, Incoming, MemoryBroker, Message, Outcome, Outgoing,
    RetryPolicy, Settlement, Sink, Source, Subscription,
};
use downhaul_context::Context;
use tokio::time::sleep;

use crate::support::{SECOND, publish, spawn, subscription, until};

fn emitted(to: &'static str) -> Outgoing {
    Outgoing::to_queue(to, Message::new(""))
}

fn twice_at_once() -> RetryPolicy {
    RetryPolicy::default().attempts(2).backoff(Duration::ZERO, Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn with_a_message_that_is_tried_again_or_released_nothing_is_published() {
    for settlement in [Settlement::Retry { after: Some(Duration::ZERO) }, Settlement::Release] {
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        let emit = move |_: Context, message: Incoming<Message>| {
            let is_first = (message.attempt(), message.redeliveries()) == (1, 0);
            let settlement = if is_first { settlement.clone() } else { Settlement::Ack };
            let outcome = Outcome::new(settlement);
            ready(if is_first { outcome.emit(emitted("q.dead")) } else { outcome })
        };
        let handle = spawn(Consumer::new(subscription(), emit), &ctx, &broker).await;
        publish(&broker, Message::new("")).await;
        until(|| handle.tally().acked == 1).await;
        assert_eq!(broker.depth("q.dead").ready, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_is_published_also_when_the_time_of_the_handler_is_over() {
    let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
    let late = |_: Context, _: Incoming<Message>| async {
        sleep(2 * SECOND).await; // tidy: on the paused clock
        Outcome::new(Settlement::Ack).emit(emitted("q.dead"))
    };
    let consumer = Consumer::new(subscription(), late).handler_timeout(SECOND);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    handle.idle_for(SECOND).await;
    assert_eq!((handle.tally().acked, broker.depth("q.dead").ready), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_what_could_not_be_emitted_says_so() {
    let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
    let emit = |_: Context, _: Incoming<Message>| {
        ready(Outcome::new(Settlement::Ack).emit(emitted("nowhere")))
    };
    let consumer = Consumer::new(subscription(), emit).retry(twice_at_once());
    spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| broker.depth("q.dead").ready == 1).await;
    let letter = broker.ready("q.dead").remove(0);
    let why = "no queue takes the message: no queue takes `nowhere`";
    assert_eq!(letter.headers().get(DEAD_ERROR), Some(why));
    let reason = format!("failed 2 times, the last time: {why}");
    assert_eq!(letter.headers().get(DEAD_REASON), Some(&*reason));
}

#[cfg(feature = "testing")]
mod failing {
    use downhaul_consumer::testing::FaultyBroker;

    use super::*;

    fn faulty() -> (MemoryBroker, FaultyBroker) {
        let memory = MemoryBroker::new();
        (memory.clone(), FaultyBroker::over(Arc::new(memory)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_emits_a_message_that_can_never_be_sent_is_a_letter_at_once() {
        let ((ctx, _canceller), (memory, broker)) = (Context::root(), faulty());
        broker.faults().refuse_larger_than(5_000);
        let emit = |_: Context, _: Incoming<Message>| {
            let large = Outgoing::to_queue("q.dead", Message::new(vec![0; 6_000]));
            ready(Outcome::new(Settlement::Ack).emit(large))
        };
        let handle = Consumer::new(subscription(), emit).spawn(&ctx, Arc::new(broker));
        handle.settled().await;
        publish(&memory, Message::new("")).await;
        until(|| memory.depth("q.dead").ready == 1).await;
        assert_eq!((handle.tally().retried, handle.tally().dead_lettered), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_that_is_refused_for_now_says_all_when_it_is_taken() {
        let ((ctx, _canceller), (memory, broker)) = (Context::root(), faulty());
        broker.faults().nack_publishes(1);
        let fail =
            |_: Context, _: Incoming<Message>| ready(Err::<(), _>(Failure::permanent("poison")));
        let handle = Consumer::new(subscription(), fail).spawn(&ctx, Arc::new(broker));
        handle.settled().await;
        publish(&memory, Message::new("")).await;
        handle.idle_for(2 * SECOND).await;
        let letter = memory.ready("q.dead").remove(0);
        assert_eq!(letter.headers().get(DEAD_ERROR), Some("poison"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_that_is_not_taken_within_five_seconds_is_tried_again_later() {
        let ((ctx, _canceller), (memory, broker)) = (Context::root(), faulty());
        broker.faults().slow_sends(7 * SECOND);
        let faults = broker.faults();
        let fail =
            |_: Context, _: Incoming<Message>| ready(Err::<(), _>(Failure::permanent("poison")));
        let handle = Consumer::new(subscription(), fail).spawn(&ctx, Arc::new(broker));
        handle.settled().await;
        publish(&memory, Message::new("")).await;
        sleep(Duration::from_millis(5_200)).await; // tidy: on the paused clock
        let last = handle.snapshot().last_error.unwrap().error;
        assert!(last.starts_with("cannot be moved: the message was not sent"), "{last}");
        assert_eq!(handle.snapshot().held_up.len(), 1);
        faults.heal();
        handle.idle_for(2 * SECOND).await;
        assert_eq!((handle.tally().dead_lettered, handle.snapshot().held_up.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_is_too_large_with_its_marks_waits_in_hand_and_holds_up_nobody() {
        let ((ctx, _canceller), (memory, broker)) = (Context::root(), faulty());
        broker.faults().refuse_larger_than(10);
        let later = |_: Context, _: Incoming<Message>| async {
            Err::<(), _>(Failure::retry_after(60 * SECOND, "not yet"))
        };
        let handle = Consumer::new(subscription(), later).spawn(&ctx, Arc::new(broker));
        handle.settled().await;
        publish(&memory, Message::new("1234567890")).await;
        until(|| handle.snapshot().waiting == 1).await;
        let snapshot = handle.snapshot();
        assert_eq!((snapshot.held_up.len(), snapshot.tally.retried), (0, 1));
        let last = snapshot.last_error.unwrap().error;
        assert!(last.starts_with("cannot be moved: "), "{last}");
    }
}

/// A memory broker that cannot hold a message back.
#[derive(Debug)]
struct Impatient(MemoryBroker);

#[async_trait]
impl Broker for Impatient {
    fn system(&self) -> &'static str {
        "impatient"
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        self.0.source(ctx, subscription).await
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.0.sink(ctx).await
    }

    async fn close(&self, ctx: &Context) {
        self.0.close(ctx).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_broker_holds_nothing_back_a_retry_waits_in_hand_and_goes_back_at_a_stop() {
    let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
    let later = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::retry_after(60 * SECOND, "not yet"))
    };
    let consumer = Consumer::new(subscription(), later);
    let handle = consumer.spawn(&ctx, Arc::new(Impatient(broker.clone())));
    handle.settled().await;
    publish(&broker, Message::new("")).await;
    until(|| handle.snapshot().waiting == 1).await;
    assert_eq!((broker.depth("q").delayed, broker.depth("q").unsettled), (0, 1));
    handle.stop();
    handle.settled().await;
    assert_eq!((broker.depth("q").delayed, broker.depth("q").ready), (0, 1));
}
