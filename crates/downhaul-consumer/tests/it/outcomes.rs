//! What a broker with transactions is told: which delivery a message is an outcome of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::headers::FIRST_FAILED;
use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Broker, BrokerError, Capabilities, Consumer, Destination, Event, Failure, Incoming,
    MemoryBroker, Message, Outcome, Outgoing, Receipt, RetryPolicy, Settled, Settlement, Sink,
    Source, State, Subscription, Token, Verdict,
};
use downhaul_context::Context;
use tokio::sync::mpsc;

use crate::support::{publish_numbers, spawn, subscription, until};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Delivered(Token),
    /// To where, and as an outcome of which delivery.
    Sent(String, Option<Token>),
    Retracted(Token),
    Settled(Token, Verdict),
}

/// A queue whose broker writes down what it is told, and says that it has transactions.
#[derive(Clone, Debug)]
struct Witness {
    inner: MemoryBroker,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Witness {
    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    /// What was told of the only delivery, once it is settled.
    async fn of_the_delivery(&self) -> Vec<Told> {
        let is_settled = |told: &Told| matches!(told, Told::Settled(..));
        until(|| self.told.lock().unwrap().iter().any(is_settled)).await;
        self.told.lock().unwrap().clone()
    }
}

#[async_trait]
impl Broker for Witness {
    fn system(&self) -> &'static str {
        "witness"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities().with_transactions()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let inner = self.inner.source(ctx, subscription).await?;
        Ok(Box::new(WitnessSource { inner, witness: self.clone() }))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Ok(Arc::new(WitnessSink { inner: self.inner.sink(ctx).await?, witness: self.clone() }))
    }

    fn retract(&self, delivery: Token) {
        self.tell(Told::Retracted(delivery));
    }

    async fn close(&self, _ctx: &Context) {}
}

#[derive(Debug)]
struct WitnessSink {
    inner: Arc<dyn Sink>,
    witness: Witness,
}

#[async_trait]
impl Sink for WitnessSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let to = match &outgoing.destination {
            Destination::Topic(name) | Destination::Queue(name) => name.to_string(),
        };
        self.witness.tell(Told::Sent(to, outgoing.outcome_of));
        self.inner.send(outgoing).await
    }

    async fn close(&self, _ctx: &Context) {}
}

struct WitnessSource {
    inner: Box<dyn Source>,
    witness: Witness,
}

#[async_trait]
impl Source for WitnessSource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        self.inner.next(events).await?;
        for event in &events[had..] {
            if let Event::Delivery(delivery) = event {
                self.witness.tell(Told::Delivered(delivery.token));
            }
        }
        Ok(())
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        batch.iter().for_each(|one| self.witness.tell(Told::Settled(one.0, one.1)));
        self.inner.settle(batch).await
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.inner.set_prefetch(prefetch).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        self.inner.close(ctx).await
    }
}

/// Runs a consumer until it has settled one message.
async fn witnessed(consumer: Consumer) -> (Token, Vec<Told>) {
    let (ctx, _canceller) = Context::root();
    let witness = Witness { inner: MemoryBroker::new(), told: Arc::default() };
    let handle = consumer.spawn(&ctx, Arc::new(witness.clone()));
    handle.settled().await;
    publish_numbers(&witness.inner, 1).await;
    let mut told = witness.of_the_delivery().await;
    let Told::Delivered(token) = told.remove(0) else { panic!("{told:?}") };
    (token, told)
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_emits_is_taken_back_if_some_of_it_fails() {
    let handler = |_: Context, message: Incoming<Message>| async move {
        let there = Outgoing::to_topic("t2", Message::new(""));
        let outcome = Outcome::new(Settlement::Ack);
        match message.attempt() {
            1 => outcome.emit(there).emit(Outgoing::to_topic("nowhere", Message::new(""))),
            _ => outcome,
        }
    };
    let at_once = RetryPolicy::default().backoff(Duration::ZERO, Duration::ZERO);
    let consumer = Consumer::new(subscription().topic("t2"), handler).retry(at_once);
    let (token, told) = witnessed(consumer).await;
    let sent = |to: &str| Told::Sent(to.to_owned(), Some(token));
    let settled = Told::Settled(token, Verdict::Ack);
    // What was emitted to the consumer's own topic is delivered as well.
    let told: Vec<_> = told.into_iter().filter(|one| !matches!(one, Told::Delivered(_))).collect();
    assert_eq!(told[..4], [sent("t2"), sent("nowhere"), Told::Retracted(token), settled]);
}

#[tokio::test(start_paused = true)]
async fn retries_and_dead_letters_are_outcomes_of_their_delivery() {
    let handler = |_: Context, message: Incoming<Message>| async move {
        match message.attempt() {
            1 => Err::<(), _>(Failure::retry_after(Duration::from_secs(10), "later")),
            _ => Err(Failure::permanent("never")),
        }
    };
    let (token, told) = witnessed(Consumer::new(subscription(), handler)).await;
    let settled = Told::Settled(token, Verdict::Ack);
    assert_eq!(told, [Told::Sent("q".to_owned(), Some(token)), settled]);

    let handler =
        |_: Context, _: Incoming<Message>| async { Err::<(), _>(Failure::permanent("never")) };
    let (token, told) = witnessed(Consumer::new(subscription(), handler)).await;
    let settled = Told::Settled(token, Verdict::Ack);
    assert_eq!(told, [Told::Sent("q.dead".to_owned(), Some(token)), settled]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_marks_what_it_has_seen_cannot_be_had_with_transactions() {
    let (ctx, _canceller) = Context::root();
    let witness = Witness { inner: MemoryBroker::new(), told: Arc::default() };
    let handler = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription(), handler).dedupe(Arc::new(MemoryInbox::new()));
    let handle = consumer.spawn(&ctx, Arc::new(witness));
    assert_eq!(handle.settled().await, State::Failed);
    let failure = handle.status().failure.clone().unwrap();
    assert!(failure.contains("dedupe"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_sends_on_to_a_topic_begins_there_with_its_first_attempt() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let send_on = |_: Context, message: Incoming<Message>| async move {
        if message.attempt() < 3 {
            return Err(Failure::retry_after(Duration::from_secs(10), "later"));
        }
        let onward = Outgoing::to_topic("onward", message.message().clone());
        Ok(Outcome::new(Settlement::Ack).emit(onward))
    };
    spawn(Consumer::new(subscription(), send_on), &ctx, &broker).await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let tell = move |_: Context, message: Incoming<Message>| {
        let first_failed = message.headers().get(FIRST_FAILED).map(str::to_owned);
        let _ = sender.send((message.attempt(), message.topic().map(str::to_owned), first_failed));
        async {}
    };
    let next = Subscription::new("next").topic("onward");
    spawn(Consumer::new(next, tell), &ctx, &broker).await;
    publish_numbers(&broker, 1).await;
    assert_eq!(seen.recv().await.unwrap(), (1, Some("onward".to_owned()), None));
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_emits_with_a_message_that_it_gives_up_is_published_first() {
    let dead = || Settlement::DeadLetter { reason: "old".to_owned() };
    let dropped = || Settlement::Drop { reason: "old".to_owned() };
    for (given_up, letters) in [(dropped(), 0), (dead(), 1)] {
        let emit = move |_: Context, _: Incoming<Message>| {
            let alert = Outgoing::to_queue("q.dead", Message::new("").with_id("alert"));
            std::future::ready(Outcome::new(given_up.clone()).emit(alert))
        };
        let (token, told) = witnessed(Consumer::new(subscription(), emit)).await;
        let sent = Told::Sent("q.dead".to_owned(), Some(token));
        assert_eq!(told[..=letters], vec![sent; 1 + letters]);
    }
}
