//! What breaks: the broker dies, freezes, runs short, or cuts all links.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Consumer, Incoming, Link, Message, Outgoing, PublishErrorKind,
    PublishOutcome, Publisher, RetryPolicy, State, Verdict,
};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{
    all, broker_at, fill, own_node, publish, sink, soon, source, subscription, take, warnings,
};

/// Well below the heartbeat: the end of a process is told, not guessed.
const PROMPTLY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_leaves_receipts_unknown_and_ends_every_source() {
    let mut own = own_node();
    let broker = broker_at(&own.node.url());
    let (open, paused) = (subscription("open"), subscription("paused"));
    let (mut open_source, mut paused_source) =
        (source(&broker, &open).await, source(&broker, &paused).await);
    paused_source.set_prefetch(0).await.unwrap();
    let sink = sink(&broker).await;
    own.node.pause();
    let outgoing = Outgoing::to_queue(open.queue(), Message::new("?"));
    let mut receipts = Vec::new();
    for _ in 0..50 {
        receipts.push(sink.send(&outgoing).await.unwrap());
    }

    let killed = Instant::now();
    own.node.kill();
    for receipt in receipts {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Unknown(_)), "{outcome:?}");
    }
    for source in [&mut open_source, &mut paused_source] {
        let error = soon("the end", source.next(&mut Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{}", error.chain());
    }
    assert!(killed.elapsed() < PROMPTLY, "took {:?}", killed.elapsed());
    let error = soon("a late send", sink.send(&outgoing)).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
}

/// Handles numbers and shows which it has seen.
struct Numbers {
    consumer: downhaul_consumer::ConsumerHandle,
    seen: watch::Receiver<BTreeSet<u32>>,
}

impl Numbers {
    async fn start(
        ctx: &Context,
        broker: &Arc<RabbitMq>,
        queue: downhaul_consumer::Subscription,
    ) -> Self {
        let (tell, seen) = watch::channel(BTreeSet::new());
        let handle = move |_: Context, order: Incoming<downhaul_consumer::Json<u32>>| {
            let tell = tell.clone();
            async move {
                tell.send_if_modified(|seen| seen.insert(order.body.0));
            }
        };
        let retry = RetryPolicy::default().attempts(1_000);
        let consumer =
            Consumer::new(queue, handle).retry(retry).spawn(ctx, Arc::clone(broker) as _);
        assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
        Self { consumer, seen }
    }

    async fn see(&mut self, numbers: &BTreeSet<u32>) {
        let seen = self.seen.wait_for(|seen| numbers.is_subset(seen));
        soon("all are handled", seen).await.unwrap();
    }

    async fn is_linked(&self) {
        let mut status = self.consumer.watch();
        let up = status.wait_for(|status| matches!(status.link, Link::Up));
        soon("the link is up", up).await.unwrap();
    }
}

/// Publishes numbers from eight tasks until told to stop; returns those that were confirmed.
fn publish_numbers(
    ctx: &Context,
    broker: &Arc<RabbitMq>,
    queue: &str,
    mut stop: watch::Receiver<bool>,
) -> tokio::task::JoinHandle<BTreeSet<u32>> {
    let publisher = Publisher::new(Arc::clone(broker) as _);
    let (ctx, queue) = (ctx.clone(), queue.to_owned());
    let confirmed = Arc::new(Mutex::new(BTreeSet::new()));
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    tokio::spawn(async move {
        let publishing = (0..8).map(|_| async {
            loop {
                let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let message = Message::json(&number).unwrap();
                let outgoing = Outgoing::to_queue(queue.clone(), message);
                match publisher.publish(&ctx, outgoing).await {
                    Ok(()) => assert!(confirmed.lock().unwrap().insert(number)),
                    Err(error) => assert_eq!(error.kind(), PublishErrorKind::Unknown, "{error}"),
                }
            }
        });
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            _ = futures_util::future::join_all(publishing) => {}
        }
        std::mem::take(&mut *confirmed.lock().unwrap())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_after_a_power_cut_and_no_confirmed_message_is_lost() {
    let mut own = own_node();
    let (ctx, canceller) = Context::root();
    let (broker, subscription) = (Arc::new(broker_at(&own.node.url())), subscription("survivor"));
    let queue = subscription.queue().to_owned();
    let mut numbers = Numbers::start(&ctx, &broker, subscription).await;
    let (stop, stopped) = watch::channel(false);
    let publishing = publish_numbers(&ctx, &broker, &queue, stopped);
    numbers.see(&(0..500).collect()).await;
    for _ in 0..2 {
        own.node.kill();
        own.node.restart().unwrap();
        numbers.is_linked().await;
        let next = numbers.seen.borrow().last().copied().unwrap() + 200;
        let further = numbers.seen.wait_for(|seen| seen.last().is_some_and(|last| *last > next));
        drop(soon("it goes on", further).await.unwrap());
    }
    stop.send_replace(true);
    let confirmed = soon("the publishers stop", publishing).await.unwrap();
    assert!(confirmed.len() > 500);
    numbers.see(&confirmed).await;

    canceller.drain(Duration::from_secs(5));
    soon("the consumer ends", numbers.consumer.ended()).await;
    soon("closing", broker.close(&Context::background())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_after_its_connections_were_closed_or_its_queue_was_deleted() {
    let own = own_node();
    let (ctx, _canceller) = Context::root();
    let (broker, subscription) = (Arc::new(broker_at(&own.node.url())), subscription("closed"));
    let queue = subscription.queue().to_owned();
    let publisher = Publisher::new(Arc::clone(&broker) as _);
    let mut numbers = Numbers::start(&ctx, &broker, subscription).await;
    for number in 0..4 {
        let (stop, stopped) = watch::channel(false);
        let publishing = publish_numbers(&ctx, &broker, &queue, stopped);
        own.node.ctl(&["close_all_connections", "a test"]).unwrap();
        stop.send_replace(true);
        let confirmed = soon("the publishers stop", publishing).await.unwrap();
        numbers.see(&confirmed).await;
        // All may have been published before, and connections are made anew after a while.
        let one_again = async {
            let list = || own.node.ctl(&["list_queues", "name", "consumers"]).unwrap();
            while !list().contains(&format!("{queue}\t1\n")) {
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("one consumer after round {number}"), one_again).await;
    }

    own.node.ctl(&["delete_queue", &queue]).unwrap();
    let again = async {
        // Until it is declared again, nobody takes the message.
        let outgoing = Outgoing::to_queue(&queue, Message::json(&1_000_000).unwrap());
        while publisher.publish(&ctx, outgoing.clone()).await.is_err() {}
    };
    soon("the queue is there again", again).await;
    numbers.see(&[1_000_000].into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_given_up_on_after_the_heartbeat_and_the_connect_timeout() {
    let own = own_node();
    let short = Duration::from_secs(1);
    let broker = broker_at(&own.node.url()).heartbeat(short).connect_timeout(short);
    let subscription = subscription("frozen");
    let mut open_source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    own.node.pause();
    let frozen = Instant::now();
    let receipt = sink.send(&Outgoing::to_topic(subscription.queue(), Message::new(""))).await;
    soon("the end", open_source.next(&mut Vec::new())).await.unwrap_err();
    let outcome = soon("an answer", receipt.unwrap()).await;
    assert!(matches!(outcome, PublishOutcome::Unknown(_)), "{outcome:?}");
    assert!(frozen.elapsed() < PROMPTLY, "took {:?}", frozen.elapsed());

    let begun = Instant::now();
    let ctx = Context::background();
    let Err(error) = soon("giving up", broker.source(&ctx, &subscription)).await else {
        panic!("it opened")
    };
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
    assert!(begun.elapsed() < PROMPTLY, "took {:?}", begun.elapsed());
    own.node.resume();
    drop(source(&broker, &subscription).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_runs_short_lets_publishes_wait_and_acknowledgements_pass() {
    let own = own_node();
    let (broker, subscription) = (Arc::new(broker_at(&own.node.url())), subscription("short"));
    let mut source = source(&*broker, &subscription).await;
    let sink = sink(&*broker).await;
    fill(&*sink, subscription.queue(), ["before".to_owned()]).await;
    let deliveries = take(&mut *source, 1).await;
    let alarm = "{{resource_limit, memory, node()}, []}";
    own.node.ctl(&["eval", &format!("rabbit_alarm:set_alarm({alarm}).")]).unwrap();
    // The broker says so at the next publish, which it does not answer.
    let outgoing = Outgoing::to_queue(subscription.queue(), Message::new("after"));
    let receipt = sink.send(&outgoing).await.unwrap();

    source.settle(&all(&deliveries, Verdict::Ack)).await.unwrap();
    soon("closing", source.close(&Context::background())).await.unwrap();
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(500));
    let mut blocked = ctx.run(receipt).await.is_err();
    assert!(blocked, "a publish was answered");
    let log = warnings();
    for _ in 0..2 {
        let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(500));
        blocked = ctx.run(sink.send(&outgoing)).await.is_err();
        assert!(blocked, "a publish was sent");
    }
    let publisher = Publisher::new(broker.clone());
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(500));
    let one = publisher.publish(&ctx, outgoing.clone()).await.unwrap_err();
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(500));
    let many = publisher.publish_all(&ctx, [outgoing.clone(), outgoing.clone()]).await.unwrap_err();
    for error in [one, many] {
        let why = error.source().unwrap().to_string();
        assert!(why.contains("short of memory"), "{why}");
    }
    let told = log.take();
    assert!(told.len() == 1 && told[0].fields["message"].contains("short of memory"), "{told:?}");

    own.node.ctl(&["eval", "rabbit_alarm:clear_alarm({resource_limit, memory, node()})."]).unwrap();
    let outcome = publish(&*sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let mut source = crate::support::source(&*broker, &subscription).await;
    take(&mut *source, 2).await;
}

/// It reads nothing of who publishes, not even a farewell.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_runs_short_holds_up_nobody_who_closes() {
    let own = own_node();
    let (broker, subscription) = (broker_at(&own.node.url()), subscription("short"));
    let _source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let alarm = "{{resource_limit, memory, node()}, []}";
    own.node.ctl(&["eval", &format!("rabbit_alarm:set_alarm({alarm}).")]).unwrap();
    let outgoing = Outgoing::to_queue(subscription.queue(), Message::new("x"));
    let receipt = sink.send(&outgoing).await.unwrap();
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let short = async {
        while sink.try_send(&outgoing).is_some() {
            look.tick().await;
        }
    };
    soon("it says so", short).await;
    let ctx = Context::background();
    soon("the sink closes", sink.close(&ctx)).await;
    let outcome = soon("an answer", receipt).await;
    assert!(matches!(outcome, PublishOutcome::Unknown(_)), "{outcome:?}");
    soon("the broker closes", broker.close(&ctx)).await;
}
