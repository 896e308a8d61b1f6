//! What the engine publishes itself, where the broker has its own mind: retries and dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Broker, BrokerError, Capabilities, Consumer, Failure, Incoming, Message, Outgoing, Publisher,
    RetryPolicy, Sink, Source, State, Subscription, headers,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{Queue, RabbitMq, Topology};
use downhaul_testkit::capture::Capture;
use downhaul_testkit::proxy::{Cut, Direction, Proxy};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use tracing::Level;

use crate::support::{
    Foreigner, all, fill, publish, shared_broker, sink, soon, source, subscription, take, text,
};

async fn fail(_ctx: Context, _message: Incoming<Message>) -> Result<(), Failure> {
    Err(std::io::Error::other("never"))?
}

/// Retries that are parked at the broker, however short.
fn parked(attempts: u32) -> RetryPolicy {
    let short = Duration::from_millis(5);
    let retry = RetryPolicy::default().attempts(attempts).backoff(short, short);
    retry.in_place_up_to(Duration::ZERO)
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_do_not_count_for_the_delivery_limit_of_a_quorum_queue() {
    let queue = unique("limited");
    let topology = Topology::new().queue(Queue::quorum(&queue).delivery_limit(2));
    let broker = Arc::new(shared_broker().topology(topology).unwrap());
    let consumer = Consumer::new(Subscription::new(queue.clone()), fail).retry(parked(5));
    let consumer = consumer.spawn(&Context::background(), Arc::clone(&broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    fill(&*sink(&*broker).await, &queue, ["poison".to_owned()]).await;
    let dead = Subscription::new(Subscription::new(queue).dead_letter_queue());
    let letter = take(&mut *source(&*broker, &dead).await, 1).await.remove(0);
    assert_eq!(text(&letter.message), "poison");
    assert_eq!(letter.message.headers().get(headers::ATTEMPT), Some("5"));
}

#[tokio::test]
async fn a_dead_letter_whose_queue_was_deleted_is_not_lost() {
    let log = Capture::start(|line| *line.level() == Level::ERROR);
    let (broker, subscription) = (Arc::new(shared_broker()), subscription("homeless"));
    let dead = subscription.dead_letter_queue().to_string();
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let poisoned = move |_ctx: Context, _message: Incoming<Message>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(Failure::permanent("never")) }
    };
    let consumer = Consumer::new(subscription.clone(), poisoned);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(&broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    let foreigner = Foreigner::at(&shared()).await;
    foreigner.delete(&dead).await;
    fill(&*sink(&*broker).await, subscription.queue(), ["poison".to_owned()]).await;
    let tried = async {
        while calls.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await
        }
    };
    soon("it is given back and tried again", tried).await;
    assert_eq!(consumer.tally().dead_lettered, 0);
    let said: Vec<_> = log.take().iter().map(|line| line.fields["message"].clone()).collect();
    let failed = "message failed, to the dead letters";
    assert_eq!(said, [failed, "cannot move messages to the dead letters, trying again"]);

    // Whoever begins to consume declares it anew.
    consumer.restart();
    let again = async {
        while consumer.tally().dead_lettered == 0 {
            tokio::task::yield_now().await
        }
    };
    soon("it becomes a dead letter", again).await;
    let dead = Subscription::new(dead);
    let letter = take(&mut *source(&*broker, &dead).await, 1).await;
    assert_eq!(text(&letter[0].message), "poison");
}

/// Consumes through one broker and publishes through another, so that the one can be cut off.
#[derive(Debug)]
struct Split {
    consuming: RabbitMq,
    publishing: RabbitMq,
}

#[async_trait]
impl Broker for Split {
    fn system(&self) -> &'static str {
        self.consuming.system()
    }

    fn capabilities(&self) -> Capabilities {
        self.consuming.capabilities()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        self.consuming.source(ctx, subscription).await
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.publishing.sink(ctx).await
    }

    async fn close(&self, ctx: &Context) {
        tokio::join!(self.consuming.close(ctx), self.publishing.close(ctx));
    }
}

/// A retry is published and confirmed, and the link is lost before the acknowledgement arrives:
/// then there are two of the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_parked_and_comes_again_as_well_is_handled_once_if_duplicates_are_told()
{
    let url = shared();
    let address = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap();
    let proxy = Arc::new(Proxy::start(address.parse().unwrap()).unwrap());
    let consuming = RabbitMq::new(&format!("amqp://guest:guest@{}/%2f", proxy.address())).unwrap();
    let broker = Arc::new(Split { consuming, publishing: RabbitMq::new(&url).unwrap() });
    let (succeeded, queue) = (Arc::new(AtomicU32::new(0)), unique("twice"));
    let (link, count) = (Arc::clone(&proxy), Arc::clone(&succeeded));
    let handle = move |_ctx: Context, message: Incoming<Message>| {
        let (link, count) = (Arc::clone(&link), Arc::clone(&count));
        async move {
            if message.attempt() == 1 {
                // From here on no acknowledgement arrives.
                link.blackhole(Direction::ToUpstream);
                return Err(std::io::Error::other("not yet").into());
            }
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<(), Failure>(())
        }
    };
    let consumer = Consumer::new(Subscription::new(queue.clone()), handle)
        .retry(parked(3))
        .dedupe(Arc::new(MemoryInbox::new()))
        .spawn(&Context::background(), broker as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    let straight = RabbitMq::new(&url).unwrap();
    let message = Message::new("").with_id("twice");
    publish(&*sink(&straight).await, &Outgoing::to_queue(&queue, message)).await;
    let handled = async {
        while succeeded.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await
        }
    };
    soon("the retry is handled", handled).await;
    proxy.cut(Cut::Reset);
    proxy.heal();
    let told = async {
        while consumer.tally().duplicates < 2 {
            tokio::task::yield_now().await
        }
    };
    soon("both come again and are told", told).await;
    assert_eq!(succeeded.load(Ordering::SeqCst), 1);
    consumer.drain();
    soon("the consumer stops", consumer.settled()).await;
    assert_eq!(Foreigner::at(&url).await.look(&queue).await, (0, 0), "and both are settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_what_is_published_and_takes_more_when_there_is_room() {
    use downhaul_consumer::{PublishOutcome, Verdict};
    use downhaul_rabbitmq::Overflow;

    let (full, roomy) = (unique("full"), unique("roomy"));
    let bounded = Queue::classic(&full).max_length(2).overflow(Overflow::RejectPublish);
    let topology = Topology::new().queue(bounded).queue(Queue::classic(&roomy));
    let broker = shared_broker().topology(topology).unwrap();
    let sink = sink(&broker).await;
    let mut receipts = Vec::new();
    for number in 0..10 {
        for queue in [&full, &roomy] {
            let outgoing = Outgoing::to_queue(queue, Message::new(number.to_string()));
            receipts.push((number, queue, sink.send(&outgoing).await.unwrap()));
        }
    }
    for (number, queue, receipt) in receipts {
        let outcome = soon("an answer", receipt).await;
        match *queue == full && number >= 2 {
            true => assert!(matches!(outcome, PublishOutcome::Nacked), "{number}: {outcome:?}"),
            false => assert!(matches!(outcome, PublishOutcome::Confirmed), "{number}: {outcome:?}"),
        }
    }
    let mut source = source(&broker, &Subscription::new(&full)).await;
    let deliveries = take(&mut *source, 2).await;
    source.settle(&all(&deliveries, Verdict::Ack)).await.unwrap();
    let publisher = Publisher::new(Arc::new(broker));
    let again = Outgoing::to_queue(&full, Message::new("again"));
    soon("a publish", publisher.publish(&Context::background(), again)).await.unwrap();
}
