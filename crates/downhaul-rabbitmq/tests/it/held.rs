//! Messages that are held for as long as the broker's consumer timeout, or nearly.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Consumer, ConsumerHandle, Incoming, Message, Source, State,
    Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{Queue, RabbitMq, Topology};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, mpsc};

use crate::support::{
    Foreigner, OwnNode, all, broker_at, fill, own_node, shared_broker, sink, soon, source,
    subscription, take, texts, warnings,
};

/// A node that has no patience: by default it has half an hour, and looks once a minute.
fn impatient() -> OwnNode {
    let own = own_node();
    let settings = "application:set_env(rabbit, consumer_timeout, 700), \
                    application:set_env(rabbit, channel_tick_interval, 100).";
    own.node.ctl(&["eval", settings]).unwrap();
    own
}

/// A source that has taken one message.
async fn holding(broker: &RabbitMq, subscription: &Subscription) -> Box<dyn Source> {
    let mut source = source(broker, subscription).await;
    fill(&*sink(broker).await, subscription.queue(), ["held".to_owned()]).await;
    take(&mut *source, 1).await;
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_message_is_held_too_long_ends_with_advice_and_its_siblings_go_on() {
    let own = impatient();
    let broker = broker_at(&own.node.url());
    let (sibling, roomy) = (subscription("sibling"), subscription("roomy"));
    let full = subscription("full").with_prefetch(1);
    let mut sibling_source = source(&broker, &sibling).await;
    let sources = tokio::join!(holding(&broker, &roomy), holding(&broker, &full));
    for (subscription, mut held) in [(&roomy, sources.0), (&full, sources.1)] {
        let error = soon("the end", held.next(&mut Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "it is opened again");
        let words = error.chain();
        for part in [subscription.queue(), "a handler held a message longer", "`consumer_timeout`"]
        {
            assert!(words.contains(part), "{words}");
        }
        assert!(words.contains("700"), "what the broker says: {words}");
    }
    fill(&*sink(&broker).await, sibling.queue(), ["prompt".to_owned()]).await;
    let deliveries = take(&mut *sibling_source, 1).await;
    sibling_source.settle(&all(&deliveries, Verdict::Ack)).await.unwrap();
    let mut again = source(&broker, &full).await;
    assert_eq!(texts(&take(&mut *again, 1).await), ["held"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_comes_after_the_consumer_timeout_says_so() {
    let own = impatient();
    let broker = broker_at(&own.node.url());
    let subscription = subscription("late");
    let mut source = source(&broker, &subscription).await;
    fill(&*sink(&broker).await, subscription.queue(), ["held".to_owned()]).await;
    let deliveries = take(&mut *source, 1).await;
    let verdict = all(&deliveries, Verdict::Ack);
    // Nobody reads from the source meanwhile, as when an engine is busy.
    let is_gone = || {
        let list = own.node.ctl(&["list_consumers", "queue_name"]).unwrap();
        !list.contains(subscription.queue())
    };
    while !is_gone() {}
    let error = soon("the answer", source.settle(&verdict)).await.unwrap_err();
    assert!(error.chain().contains("a handler held a message longer"), "{}", error.chain());
}

/// A consumer that tells of each message that it begins, and holds one as long as the gate is shut.
async fn consumer(
    broker: &Arc<RabbitMq>,
    subscription: Subscription,
    gate: &Arc<Semaphore>,
) -> (ConsumerHandle, mpsc::UnboundedReceiver<()>) {
    let ((tell, told), gate) = (mpsc::unbounded_channel(), Arc::clone(gate));
    let handle = move |_ctx: Context, message: Incoming<Message>| {
        let (tell, gate) = (tell.clone(), Arc::clone(&gate));
        async move {
            tell.send(()).unwrap();
            if message.redeliveries() == 0 && message.id() == "held" {
                drop(gate.acquire().await.unwrap());
            }
        }
    };
    let consumer = Consumer::new(subscription, handle);
    let consumer = consumer.spawn(&Context::background(), Arc::clone(broker) as _);
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    (consumer, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_held_too_long_comes_again_and_costs_no_sibling_its_channel() {
    let own = impatient();
    let broker = Arc::new(broker_at(&own.node.url()));
    let (slow, quick) = (subscription("slow"), subscription("quick"));
    let gate = Arc::new(Semaphore::new(0));
    let (slow_consumer, mut slow_told) = consumer(&broker, slow.clone(), &gate).await;
    let (_quick_consumer, mut quick_told) = consumer(&broker, quick.clone(), &gate).await;
    let tags = |queue: &str| {
        let list = own.node.ctl(&["list_consumers", "queue_name", "consumer_tag"]).unwrap();
        let lines = list.lines().filter(|line| line.starts_with(queue));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = [tags(slow.queue()), tags(quick.queue())];
    let sink = sink(&*broker as &dyn Broker).await;
    for (subscription, id) in [(&slow, "held"), (&quick, "prompt")] {
        let message = Message::new("").with_id(id);
        let outgoing = downhaul_consumer::Outgoing::to_queue(subscription.queue(), message);
        crate::support::publish(&*sink, &outgoing).await;
    }
    soon("the message comes", slow_told.recv()).await.unwrap();
    soon("it comes again", slow_told.recv()).await.unwrap();
    soon("the other is handled", quick_told.recv()).await.unwrap();
    gate.add_permits(1);
    let settled = || slow_consumer.tally().acked + slow_consumer.tally().lost;
    let both = async {
        while settled() < 2 {
            tokio::task::yield_now().await
        }
    };
    soon("both are settled", both).await;
    assert_eq!(slow_consumer.tally().lost, 1, "the late verdict reached nobody");
    assert_eq!(slow_consumer.status().state, State::Running);
    let after = [tags(slow.queue()), tags(quick.queue())];
    assert!(after[0].len() == 1 && after[0] != before[0], "a new generation: {after:?}");
    assert_eq!(after[1], before[1], "the sibling is the same");
}

const MINUTE: Duration = Duration::from_secs(60);

/// Waits for so long by a clock that does not take its time, and nothing comes.
async fn nothing(source: &mut dyn Source, time: Duration) {
    tokio::time::pause();
    let waited = tokio::time::timeout(time, source.next(&mut Vec::new())).await;
    tokio::time::resume();
    assert!(waited.is_err(), "{waited:?}");
}

/// Takes texts that are published one after the other.
async fn taken(broker: &RabbitMq, source: &mut dyn Source, queue: &str, count: usize) {
    fill(&*sink(broker).await, queue, vec!["held".to_owned(); count]).await;
    take(source, count).await;
}

#[tokio::test]
async fn what_is_held_for_half_of_the_consumer_timeout_is_warned_of_once() {
    let (broker, subscription) = (shared_broker(), subscription("warned"));
    let queue = subscription.queue();
    let mut source = source(&broker, &subscription).await;
    let log = warnings();
    taken(&broker, &mut *source, queue, 2).await;
    nothing(&mut *source, 15 * MINUTE - MINUTE / 60).await;
    assert_eq!(log.take(), [], "too early");

    nothing(&mut *source, 2 * MINUTE).await;
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let told = |name: &str| &*lines[0].fields[name];
    assert_eq!((told("queue"), told("messages")), (queue, "2"));
    assert_eq!(told("consumer_timeout"), "1800s");
    assert!(told("message").contains("held for long"), "{lines:?}");

    taken(&broker, &mut *source, queue, 1).await;
    nothing(&mut *source, 12 * MINUTE).await;
    assert_eq!(log.take(), [], "the third is not late, and the others were told of");
    source.set_prefetch(0).await.unwrap();
    nothing(&mut *source, 5 * MINUTE).await;
    let lines = log.take();
    assert_eq!(lines.len(), 1, "also while it takes nothing: {lines:?}");
    assert_eq!(lines[0].fields["messages"], "1");
}

#[tokio::test]
async fn what_is_held_is_warned_of_also_while_others_come_and_go() {
    let (broker, subscription) = (shared_broker(), subscription("busy"));
    let mut source = source(&broker, &subscription).await;
    let log = warnings();
    taken(&broker, &mut *source, subscription.queue(), 1).await;
    fill(&*sink(&broker).await, subscription.queue(), ["another".to_owned()]).await;
    let foreigner = Foreigner::at(&shared()).await;
    while foreigner.look(subscription.queue()).await.0 > 0 {}
    tokio::time::pause();
    tokio::time::advance(17 * MINUTE).await;
    let mut events = Vec::new();
    while events.is_empty() {
        // The clock would go on in a wait.
        source.next(&mut events).now_or_never();
    }
    assert_eq!(log.take().len(), 1);
}

#[tokio::test]
async fn the_consumer_timeout_is_the_queues_or_the_brokers_or_half_an_hour() {
    let own = unique("own-timeout");
    let queue = Queue::classic(&own).argument("x-consumer-timeout", 120_000);
    let topology = Topology::new().queue(queue);
    let broker = || shared_broker().consumer_timeout(10 * MINUTE);
    let with_topology = || broker().topology(topology.clone()).unwrap();
    let other = unique("other");
    let cases = [
        (with_topology(), &own, 2 * MINUTE),
        (with_topology(), &other, 10 * MINUTE),
        (broker().consumer_timeout(Duration::MAX), &unique("endless"), Duration::MAX),
    ];
    for (broker, queue, timeout) in cases {
        let mut source = source(&broker, &Subscription::new(queue)).await;
        let log = warnings();
        taken(&broker, &mut *source, queue, 1).await;
        nothing(&mut *source, timeout.min(60 * MINUTE) / 2 - MINUTE / 60).await;
        assert_eq!(log.take(), [], "{timeout:?}");
        nothing(&mut *source, timeout.min(60 * MINUTE) / 4).await;
        let told = log.take();
        let told: Vec<_> = told.iter().map(|line| &*line.fields["queue"]).collect();
        let expected = (timeout < Duration::MAX).then_some(&**queue);
        assert_eq!(told, Vec::from_iter(expected), "{timeout:?}");
    }
}
