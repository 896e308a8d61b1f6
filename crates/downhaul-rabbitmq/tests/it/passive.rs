//! A broker that declares nothing.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Consumer, Failure, Incoming, Message, Outgoing, PublishOutcome,
    Publisher, RetryPolicy, State, Subscription,
};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use downhaul_testkit::rabbitmq::{shared, shared_ctl};
use downhaul_testkit::unique;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::support::{Foreigner, fill, publish, sink, soon, source, subscription, take, text};

/// A user of the shared node who may read and write, and configure nothing.
fn restricted() -> Option<String> {
    let name = unique("restricted");
    shared_ctl(&["add_user", &name, "s3cret"]).map(Result::unwrap)?;
    shared_ctl(&["set_permissions", "-p", "/", &name, "^$", ".*", ".*"]).map(Result::unwrap)?;
    Some(shared().replace("guest:guest", &format!("{name}:s3cret")))
}

impl Foreigner {
    /// Makes what a consumer of this subscription needs.
    async fn make(&self, exchange: &str, subscription: &Subscription) {
        self.make_exchange(exchange).await;
        for queue in [subscription.queue(), &subscription.dead_letter_queue()] {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let arguments = FieldTable::default();
            self.channel.queue_declare(queue.into(), options, arguments).await.unwrap();
        }
        for topic in subscription.topics() {
            let (queue, exchange) = (subscription.queue().into(), exchange.into());
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            self.channel
                .queue_bind(queue, exchange, topic.into(), options, arguments)
                .await
                .unwrap();
        }
    }

    async fn make_exchange(&self, exchange: &str) {
        let (options, arguments) = (ExchangeDeclareOptions::default(), FieldTable::default());
        let made =
            self.channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, arguments);
        made.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_declare_nothing_publishes_and_consumes_what_others_have_declared() {
    let Some(url) = restricted() else {
        println!("SKIPPED: the node is somebody else's");
        return;
    };
    let (exchange, subscription) = (unique("theirs"), subscription("theirs"));
    Foreigner::at(&shared()).await.make(&exchange, &subscription).await;
    let broker = || RabbitMq::new(&url).unwrap().exchange(&exchange);
    let refused = soon("an answer", broker().source(&Context::background(), &subscription)).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.kind(), BrokerErrorKind::Configuration);
    assert!(refused.to_string().contains("RabbitMq::passive"), "{refused}");

    let broker = Arc::new(broker().passive());
    let fail = |_ctx: Context, message: Incoming<Message>| {
        let again = Failure::retry_after(Duration::from_millis(20), "not yet");
        let failure = if message.attempt() == 1 { again } else { Failure::permanent("never") };
        async move { Err::<(), _>(failure) }
    };
    // It would be parked, if there were queues for it.
    let parked = RetryPolicy::default().in_place_up_to(Duration::ZERO);
    let consumer = Consumer::new(subscription.clone(), fail).retry(parked);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(&broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    let order = Outgoing::to_topic(subscription.queue(), Message::new("7"));
    let outcome = publish(&*sink(&*broker).await, &order).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let dead = Subscription::dead_letters_of(subscription.queue());
    let letter = take(&mut *source(&*broker, &dead).await, 1).await.remove(0);
    assert_eq!(text(&letter.message), "7");
    let attempts = letter.message.headers().get(downhaul_consumer::headers::ATTEMPT);
    assert_eq!(attempts, Some("2"), "it waited in hand");
    consumer.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_declared_yet_is_named_and_waited_for() {
    let (exchange, subscription) = (unique("to-come"), subscription("to-come"));
    let broker = Arc::new(RabbitMq::new(&shared()).unwrap().exchange(&exchange).passive());
    let opened = soon("an answer", broker.source(&Context::background(), &subscription)).await;
    let missing = opened.err().unwrap();
    assert_eq!(missing.kind(), BrokerErrorKind::Unreachable, "it may come");
    assert!(missing.to_string().contains(subscription.queue()), "{missing}");

    let sink = sink(&*broker).await;
    let order = Outgoing::to_topic(subscription.queue(), Message::new("7"));
    let error = soon("an answer", sink.send(&order)).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "it may come");
    assert!(error.to_string().contains(&exchange), "{error}");
    let publisher = Publisher::new(Arc::clone(&broker) as _);
    // The exchange may be there before its binding.
    let early = order.clone().optional();
    let waiting =
        tokio::spawn(async move { publisher.publish(&Context::background(), early).await });
    let delayed = Outgoing::to_queue(subscription.queue(), Message::new("8"));
    let error = sink.send(&delayed.after(Duration::from_secs(1))).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Message, "{error}");

    let ack = |_ctx: Context, _message: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription.clone(), ack);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(&broker) as _);
    Foreigner::at(&shared()).await.make(&exchange, &subscription).await;
    soon("the consumer runs", consumer.wait_for(|status| status.state == State::Running)).await;
    soon("what waited is published", waiting).await.unwrap().unwrap();
    let found = async {
        while sink.send(&order).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("the exchange is found", found).await;
    fill(&*sink, subscription.queue(), ["directly".to_owned()]).await;
    let both = async {
        while consumer.tally().acked < 2 {
            tokio::task::yield_now().await
        }
    };
    soon("both are handled", both).await;
    consumer.drain();
}
