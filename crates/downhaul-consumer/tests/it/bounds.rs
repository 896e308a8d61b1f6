//! What settings mean at their edges, and what they are where nothing is set.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::headers::{ATTEMPT, TOPIC};
use downhaul_consumer::{
    Batches, Consumer, Decode, Failure, Incoming, Json, KillSwitch, Message, MessageObserver, Meta,
    Outgoing, Publisher, Rate, Settings, Settlement, State, Subscription,
};
use downhaul_consumer::{Broker, MemoryBroker, MemoryLog};
use downhaul_context::{Context, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::Span;

use crate::support::{SECOND, publish, publish_numbers, spawn, subscription, until};

#[test]
fn of_nothing_at_least_one_is_taken() {
    assert_eq!(Rate::new(0, SECOND).messages(), 1);
    assert_eq!(Subscription::new("q").with_prefetch(0).prefetch(), 1);
    assert_eq!(MemoryLog::new(0).partitions(), 1);
    let mut settings = Settings::default();
    settings.concurrency = 0;
    assert_eq!(settings.prefetch(), 2);
    settings.concurrency = 40_000;
    assert_eq!(settings.prefetch(), u16::MAX);
    (settings.concurrency, settings.prefetch) = (8, Some(3));
    assert_eq!(settings.prefetch(), 8, "never less than is handled at a time");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_of_no_concurrency_and_no_bytes_still_takes_messages() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let ack = |_: Context, _: Incoming<Message>| ready(());
    let consumer = Consumer::new(subscription(), ack).concurrency(0).buffered_bytes(0);
    let handle = spawn(consumer, &ctx, &broker).await;
    for _ in 0..3 {
        publish(&broker, Message::new("12")).await;
    }
    until(|| handle.tally().acked == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_was_full_takes_more_when_half_of_it_is_gone() {
    let (ctx, _canceller) = Context::root();
    let (broker, gate) = (MemoryBroker::new(), Arc::new(Semaphore::new(0)));
    let open = Arc::clone(&gate);
    let wait = move |_: Context, _: Incoming<Message>| {
        let open = Arc::clone(&open);
        async move { open.acquire().await.unwrap().forget() }
    };
    let consumer = Consumer::new(subscription(), wait).concurrency(1).prefetch(1_000);
    let handle = spawn(consumer.buffered_bytes(1_000), &ctx, &broker).await;
    for number in 0..20 {
        publish(&broker, Message::new(vec![0; 100])).await;
        until(|| broker.depth("q").unsettled > number || handle.buffered() == 10).await;
    }
    let ready_at_the_broker = broker.depth("q").ready;
    for acked in 1..=5 {
        gate.add_permits(1);
        until(|| handle.tally().acked == acked).await;
        assert_eq!(broker.depth("q").ready, ready_at_the_broker, "{acked} are gone");
    }
    gate.add_permits(1);
    until(|| broker.depth("q").ready < ready_at_the_broker).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_to_be_handled_alone_is_buffered() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let mut source = broker.source(&ctx, &subscription()).await.unwrap();
    publish_numbers(&broker, 1).await;
    source.next(&mut Vec::new()).await.unwrap();
    let hang = |_: Context, _: Incoming<Message>| pending::<()>();
    let handle = spawn(Consumer::new(subscription(), hang).alone_after(0), &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("first")).await;
    until(|| handle.in_flight().len() == 1).await;
    // Delivered before, it has to wait until nothing else is handled.
    drop(source);
    until(|| handle.buffered() == 1).await;
    assert_eq!((handle.in_flight().len(), broker.depth("q").unsettled), (1, 2));
}

/// Says which of two it is.
#[derive(Debug)]
struct Named(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl MessageObserver for Named {
    fn process(&self, ctx: Context, _: &Meta) -> (Context, Span) {
        self.1.lock().unwrap().push(self.0);
        (ctx, Span::none())
    }

    fn publish(&self, ctx: Context, _: &Outgoing, _: &'static str) -> (Context, Span) {
        self.1.lock().unwrap().push(self.0);
        (ctx, Span::none())
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_observer_is_told_of_all_where_no_other_is_set() {
    for (is_set, told) in [(true, "own"), (false, "default")] {
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        let calls = Arc::default();
        let named = |name| Arc::new(Named(name, Arc::clone(&calls)));
        let fail =
            |_: Context, _: Incoming<Message>| ready(Err::<(), _>(Failure::permanent("poison")));
        let mut consumer = Consumer::new(subscription(), fail);
        if is_set {
            consumer = consumer.observer(named("own"));
        }
        let handle = spawn(consumer.default_observer(named("default")), &ctx, &broker).await;
        publish(&broker, Message::new("")).await;
        until(|| handle.tally().dead_lettered == 1).await;
        // Of the attempt, and of its letter.
        assert_eq!(*calls.lock().unwrap(), [told; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_a_paused_consumer_back_to_work() {
    let (ctx, _canceller) = Context::root();
    let ack = |_: Context, _: Incoming<Message>| ready(());
    let handle = spawn(Consumer::new(subscription(), ack), &ctx, &MemoryBroker::new()).await;
    handle.pause();
    handle.settled().await;
    handle.restart();
    assert_eq!(handle.settled().await, State::Running);
    handle.set(|settings| settings.concurrency = 3);
    handle.settled().await;
    assert_eq!(handle.snapshot().settings.concurrency, 3);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_not_idle_while_something_waits_in_hand() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let later = |_: Context, message: Incoming<Message>| {
        let is_first = message.attempt() == 1;
        ready(if is_first {
            Settlement::Retry { after: Some(Duration::from_millis(900)) }
        } else {
            Settlement::Ack
        })
    };
    let handle = spawn(Consumer::new(subscription(), later), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.snapshot().waiting == 1).await;
    handle.idle_for(Duration::from_millis(100)).await;
    assert_eq!(handle.tally().acked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_told_where_it_was_published_to_and_that_no_attempt_is_before_the_first() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let tell = move |_: Context, message: Incoming<Message>| {
        let _ = sender.send((message.topic().map(str::to_owned), message.attempt()));
        ready(())
    };
    spawn(Consumer::new(subscription(), tell), &ctx, &broker).await;
    publish(&broker, Message::new("").with_header(TOPIC, "elsewhere")).await;
    assert_eq!(seen.recv().await.unwrap(), (Some("t".to_owned()), 1));
    let zeroth = Message::new("").with_header(ATTEMPT, "0").with_header(TOPIC, "elsewhere");
    let publisher = Publisher::new(Arc::new(broker));
    publisher.publish(&ctx, Outgoing::to_queue("q", zeroth)).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), (Some("elsewhere".to_owned()), 1));
}

#[tokio::test(start_paused = true)]
async fn too_many_results_acknowledge_nothing_either() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let two = |_: Context, _: Vec<Incoming<Message>>| ready(vec![Settlement::Ack; 2]);
    let consumer = Consumer::batches(subscription(), Batches::of(1), two);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.tally().dead_lettered == 1).await;
}

#[test]
fn json_ends_with_its_value_and_says_what_it_is() {
    assert_eq!(Json::<u32>::decode(&Message::new("7 ")).unwrap().0, 7);
    let error = Json::<u32>::decode(&Message::new("7 8")).unwrap_err();
    assert!(error.to_string().contains("trailing characters"), "{error}");
    assert_eq!(Message::json(&7).unwrap().content_type(), "application/json");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_less_time_the_less_any_of_its_messages_has() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut left) = mpsc::unbounded_channel();
    let tell = move |ctx: Context, _: Vec<Incoming<Message>>| {
        let _ = sender.send(ctx.remaining().unwrap());
        ready(())
    };
    let consumer = Consumer::batches(subscription(), Batches::of(2), tell);
    spawn(consumer.handler_timeout(60 * SECOND), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    let soon = std::time::SystemTime::now() + 10 * SECOND;
    publish(&broker, Message::new("").with_deadline(soon)).await;
    // One second more, in case the clocks of two machines differ.
    assert!(left.recv().await.unwrap() <= 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_tries_nothing_while_something_from_before_is_handled() {
    let (ctx, _canceller) = Context::root();
    let (broker, gate) = (MemoryBroker::new(), Arc::new(Semaphore::new(0)));
    let open = Arc::clone(&gate);
    let handle = move |_: Context, message: Incoming<Message>| {
        let open = Arc::clone(&open);
        async move {
            if message.id() == "bad" {
                return Err(Failure::permanent("bad"));
            }
            open.acquire().await?.forget();
            Ok(())
        }
    };
    let switch = KillSwitch::default().at_least(1).pause(10 * SECOND);
    let consumer = Consumer::new(subscription(), handle).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("slow")).await;
    until(|| handle.in_flight().len() == 1).await;
    publish(&broker, Message::new("").with_id("bad")).await;
    handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    publish(&broker, Message::new("").with_id("tried")).await;
    handle.wait_for(|status| status.suspended_until.is_none()).await.unwrap();
    assert!(timeout(SECOND, pending::<()>()).await.is_err());
    assert_eq!(handle.in_flight().len(), 1, "it would not be alone");
    gate.add_permits(2);
    let begun = Instant::now();
    until(|| handle.tally().acked == 2).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn parked_attempts_open_a_kill_switch_as_those_in_hand_do() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let later = |_: Context, _: Incoming<Message>| {
        ready(Settlement::Retry { after: Some(Duration::from_secs(3600)) })
    };
    let switch = KillSwitch::default().at_least(2);
    let consumer = Consumer::new(subscription(), later).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| broker.depth("q").delayed == 2).await;
    until(|| handle.status().suspended_until.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_link_of_memory_says_is_an_error_and_a_closed_broker_opens_nothing() {
    let (ctx, memory, log) = (Context::background(), MemoryBroker::new(), MemoryLog::new(1));
    let cut: [&dyn Fn(); 2] = [&|| memory.cut(), &|| log.cut()];
    let brokers: [&dyn Broker; 2] = [&memory, &log];
    for (broker, cut) in brokers.into_iter().zip(cut) {
        let mut source = broker.source(&ctx, &subscription()).await.unwrap();
        let sink = broker.sink(&ctx).await.unwrap();
        cut();
        assert!(source.settle(&[]).await.is_err() && source.set_prefetch(0).await.is_err());
        let outgoing = Outgoing::to_topic("t", Message::new(""));
        assert!(sink.send(&outgoing).await.is_err());
        broker.close(&ctx).await;
        assert!(broker.source(&ctx, &subscription()).await.is_err());
        assert!(broker.sink(&ctx).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_longest_queue_counts_what_is_held_back() {
    let (ctx, broker) = (Context::background(), MemoryBroker::with_longest_queue(2));
    let _source = broker.source(&ctx, &subscription().with_prefetch(1)).await.unwrap();
    let publisher = Publisher::new(Arc::new(broker));
    let later = || Outgoing::to_queue("q", Message::new("")).after(SECOND);
    for _ in 0..2 {
        publisher.publish(&ctx, later()).await.unwrap();
    }
    let error = publisher.publish(&ctx, later()).await.unwrap_err();
    assert_eq!(error.kind(), downhaul_consumer::PublishErrorKind::Nacked);
    assert!(!error.is_certainly_unsent(), "another queue may have it");
}

#[tokio::test(start_paused = true)]
async fn each_partition_has_its_own_offset_and_a_gap_of_nothing_is_one() {
    let (ctx, log) = (Context::background(), MemoryLog::new(2).with_longest_gap(0));
    let mut source = log.source(&ctx, &subscription()).await.unwrap();
    let publisher = Publisher::new(Arc::new(log.clone()));
    publisher.publish(&ctx, Outgoing::to_topic("t", Message::new(""))).await.unwrap();
    let other = Outgoing::to_queue("other", Message::new("")).after(SECOND);
    log.source(&ctx, &Subscription::new("other")).await.map(drop).unwrap();
    publisher.publish(&ctx, other).await.unwrap();
    assert_eq!((log.lag("q"), log.lag("other")), (1, 1), "what is held back is its group's alone");
    let mut events = Vec::new();
    let token = loop {
        source.next(&mut events).await.unwrap();
        let mut deliveries = events.drain(..).filter_map(downhaul_consumer::Event::into_delivery);
        if let Some(delivery) = deliveries.next() {
            break delivery.token;
        }
    };
    source.settle(&[(token, downhaul_consumer::Verdict::Ack)]).await.unwrap();
    let offsets = [0, 1].map(|partition| log.committed("q", "t", partition));
    assert_eq!(offsets, [1, 0]);
}
