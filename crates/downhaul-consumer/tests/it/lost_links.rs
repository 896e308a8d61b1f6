//! What was begun, waits or is over when its link or its lane is lost.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_consumer::{
    Batches, Consumer, Delivery, Event, Failure, Incoming, Lane, MemoryBroker, MemoryLog, Message,
    Outgoing, Publisher, Revoking, Settlement, State, Token, Verdict,
};
use downhaul_context::{Context, Instant};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{SECOND, at_words, publish, spawn, subscription, until};
use crate::told::{Told, delivery};

async fn publish_keyed(broker: &MemoryBroker) {
    publish(broker, Message::new("").with_key("a")).await;
}

/// A consumer whose handlers wait for a permit, and tell how that ended.
fn gated() -> (Consumer, Arc<Semaphore>, mpsc::UnboundedReceiver<bool>) {
    let (gate, (sender, ends)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let open = Arc::clone(&gate);
    let wait = move |ctx: Context, _: Incoming<Message>| {
        let (open, sender) = (Arc::clone(&open), sender.clone());
        async move {
            let permit = ctx.run(open.acquire()).await.map(|permit| permit.unwrap().forget());
            let _ = sender.send(permit.is_ok());
        }
    };
    (Consumer::new(subscription(), wait), gate, ends)
}

#[tokio::test(start_paused = true)]
async fn what_is_handled_goes_on_when_its_link_is_lost_and_settles_nothing_of_the_next() {
    let (ctx, _canceller) = Context::root();
    let (broker, (consumer, gate, mut ends)) = (MemoryBroker::new(), gated());
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.in_flight().len() == 1).await;
    broker.cut();
    until(|| handle.in_flight().len() == 2).await;
    gate.add_permits(1);
    assert_eq!(ends.recv().await, Some(true), "it was not cancelled");
    until(|| handle.tally().lost == 1).await;
    assert_eq!((handle.tally().acked, broker.depth("q").unsettled), (0, 1));
    gate.add_permits(1);
    until(|| handle.tally().acked == 1).await;
    assert_eq!((handle.tally().lost, broker.depth("q").unsettled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_free_again_when_what_was_begun_of_it_on_a_lost_link_is_over() {
    let (ctx, _canceller) = Context::root();
    let (broker, (consumer, gate, _ends)) = (MemoryBroker::new(), gated());
    let handle = spawn(consumer.ordered(), &ctx, &broker).await;
    publish_keyed(&broker).await;
    until(|| handle.in_flight().len() == 1).await;
    broker.cut();
    until(|| handle.buffered() == 1).await;
    gate.add_permits(2);
    until(|| handle.tally().acked == 1).await;
}

/// A consumer that says `settlement` of the first call, and acknowledges all others.
fn at_first(settlement: Settlement) -> Consumer {
    let calls = AtomicUsize::new(0);
    Consumer::new(subscription(), move |_: Context, _: Incoming<Message>| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        ready(if is_first { settlement.clone() } else { Settlement::Ack })
    })
}

const IN_AN_HOUR: Settlement = Settlement::Retry { after: Some(Duration::from_secs(3600)) };

#[tokio::test(start_paused = true)]
async fn a_key_is_free_again_when_what_waits_of_it_in_hand_is_lost_with_its_link() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = spawn(at_first(IN_AN_HOUR).ordered(), &ctx, &broker).await;
    publish_keyed(&broker).await;
    until(|| handle.snapshot().waiting == 1).await;
    broker.cut();
    until(|| handle.tally().acked == 1).await;
    assert_eq!(handle.tally().lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_free_again_when_what_was_gathered_of_it_is_given_back() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let batches = Batches::of(100).within(3600 * SECOND);
    let many = |_: Context, _: Vec<Incoming<Message>>| ready(());
    let consumer = Consumer::batches(subscription(), batches, many).ordered();
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_keyed(&broker).await;
    until(|| handle.buffered() == 1).await;
    handle.pause();
    handle.settled().await;
    handle.resume();
    until(|| handle.buffered() == 1).await;
    handle.drain();
    handle.settled().await;
    assert_eq!(handle.tally().acked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_partition_goes_at_once_also_where_something_of_it_waits_in_hand() {
    for settlement in [IN_AN_HOUR, Settlement::Release] {
        let (log, (ctx, _canceller)) = (MemoryLog::new(2), Context::root());
        log.create_topic("t");
        let settled = settlement.clone();
        let put_off = move |_: Context, _: Incoming<Message>| ready(settled.clone());
        let first = Consumer::new(subscription(), put_off).ordered();
        let first = first.spawn(&ctx, Arc::new(log.clone()));
        first.settled().await;
        let publisher = Publisher::new(Arc::new(log.clone()));
        let is_elsewhere = |key: &String| log.partition_of(key) != log.partition_of("a");
        let other = ('b'..='z').map(String::from).find(is_elsewhere).unwrap();
        for key in ["a", &*other, "a", &*other] {
            let outgoing = Outgoing::to_topic("t", Message::new("").with_key(key));
            publisher.publish(&ctx, outgoing).await.unwrap();
        }
        until(|| first.snapshot().waiting == 2).await;
        let ack = |_: Context, _: Incoming<Message>| ready(());
        let second = Consumer::new(subscription(), ack).spawn(&ctx, Arc::new(log.clone()));
        let asked = Instant::now();
        until(|| second.tally().acked == 2).await;
        assert_eq!((asked.elapsed(), first.tally().lost), (Duration::ZERO, 0), "{settlement:?}");
        assert_eq!(first.snapshot().waiting, 1, "what stays waits on");
    }
}

#[cfg(feature = "testing")]
mod dying {
    use downhaul_consumer::inbox::MemoryInbox;
    use downhaul_consumer::testing::FaultyBroker;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_whose_link_was_lost_before_its_task_had_its_turn() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (one, many) = (Arc::clone(&calls), Arc::clone(&calls));
        let one = move |_: Context, _: Incoming<Message>| {
            one.fetch_add(1, Ordering::SeqCst);
            ready(())
        };
        let many = move |_: Context, _: Vec<Incoming<Message>>| {
            many.fetch_add(1, Ordering::SeqCst);
            ready(())
        };
        let single = Consumer::new(subscription(), one).dedupe(Arc::new(MemoryInbox::new()));
        for consumer in [single, Consumer::batches(subscription(), Batches::of(1), many)] {
            let ((ctx, _canceller), memory) = (Context::root(), MemoryBroker::new());
            let broker = FaultyBroker::over(Arc::new(memory.clone()));
            broker.faults().lose_link_after_deliveries(1);
            let handle = consumer.spawn(&ctx, Arc::new(broker));
            handle.settled().await;
            publish(&memory, Message::new("")).await;
            until(|| handle.tally().acked == 1).await;
            assert_eq!(calls.swap(0, Ordering::SeqCst), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_does_not_answer_to_verdicts_for_five_seconds_is_lost() {
        let ((ctx, _canceller), memory) = (Context::root(), MemoryBroker::new());
        let broker = FaultyBroker::over(Arc::new(memory.clone()));
        broker.faults().slow_settlements(6 * SECOND);
        let ack = |_: Context, _: Incoming<Message>| ready(());
        let handle = Consumer::new(subscription(), ack).spawn(&ctx, Arc::new(broker));
        handle.settled().await;
        let begun = Instant::now();
        publish(&memory, Message::new("")).await;
        for _ in 0..600 {
            if handle.tally().lost > 0 {
                break;
            }
            sleep(Duration::from_millis(10)).await; // tidy: on the paused clock
        }
        assert_eq!((begun.elapsed().as_secs(), handle.tally().acked), (5, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_a_lane_that_is_lost_is_lost_with_it_and_nothing_else_is() {
    let (ctx, _canceller) = Context::root();
    let broker = Told::default();
    let later = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::retry_after(3600 * SECOND, "not yet"))
    };
    let consumer = Consumer::new(subscription(), later).ordered();
    let handle = consumer.spawn(&ctx, Arc::new(broker.clone()));
    handle.settled().await;
    broker.tell([delivery(1, "a", 1), delivery(2, "b", 2)]);
    until(|| handle.snapshot().waiting == 2).await;
    broker.tell([Event::Lost(vec![Lane::new(1)])]);
    until(|| handle.tally().lost == 1).await;
    assert_eq!(handle.snapshot().waiting, 1);
    // And its key is free, should the lane come back.
    broker.tell([delivery(3, "a", 1)]);
    until(|| handle.tally().retried == 3).await;
}

/// Given back one by one, it would come behind what the broker takes back by itself.
#[tokio::test(start_paused = true)]
async fn what_an_ordered_consumer_has_when_it_pauses_goes_back_with_its_source() {
    let (ctx, _canceller) = Context::root();
    let (broker, open) = (Told::default(), Arc::new(tokio::sync::Notify::new()));
    let gate = Arc::clone(&open);
    let wait = move |_: Context, _: Incoming<Message>| {
        let gate = Arc::clone(&gate);
        async move { gate.notified().await }
    };
    let consumer = Consumer::new(subscription(), wait).ordered().concurrency(1).prefetch(9);
    let handle = consumer.spawn(&ctx, Arc::new(broker.clone()));
    handle.settled().await;
    let keys = [(0, "first"), (1, "a"), (2, "b"), (3, "a"), (4, "b")];
    broker.tell(keys.map(|(number, key)| delivery(number, key, 0)));
    until(|| handle.buffered() == 4).await;
    handle.pause();
    until(|| handle.tally().released == 4).await;
    // Resumed before what is begun is over, it goes on with another source all the same.
    handle.resume();
    broker.tell([delivery(5, "first", 0)]);
    assert_eq!((broker.closed.load(Ordering::SeqCst), broker.released()), (0, vec![]));
    open.notify_one();
    until(|| handle.in_flight().iter().any(|one| one.message_id == "5")).await;
    assert_eq!((broker.closed.load(Ordering::SeqCst), broker.released()), (1, vec![]));
    assert_eq!(*broker.verdicts.lock().unwrap(), [(0, Verdict::Ack)]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_a_lane_that_is_to_go_is_given_back_unhandled() {
    let (ctx, _canceller) = Context::root();
    let broker = Told::default();
    let hang = |_: Context, _: Incoming<Message>| pending::<()>();
    let handle = Consumer::new(subscription(), hang).spawn(&ctx, Arc::new(broker.clone()));
    handle.settled().await;
    broker.tell([delivery(1, "a", 1)]);
    until(|| handle.in_flight().len() == 1).await;
    let (revoking, _free) = Revoking::new(vec![Lane::new(1)]);
    broker.tell([Event::Revoking(revoking), delivery(2, "b", 1)]);
    until(|| broker.released() == [2]).await;
    assert_eq!(handle.in_flight().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_and_not_settled_when_its_link_is_lost_is_not_settled_by_the_next() {
    let (ctx, _canceller) = Context::root();
    let broker = Told::default();
    let hang = |_: Context, _: Incoming<Message>| pending::<()>();
    let consumer = Consumer::new(subscription(), hang).buffered_bytes(1);
    let handle = consumer.concurrency(1).spawn(&ctx, Arc::new(broker.clone()));
    handle.settled().await;
    broker.tell([delivery(1, "a", 1)]);
    until(|| handle.in_flight().len() == 1).await;
    let (revoking, _free) = Revoking::new(vec![Lane::new(1)]);
    let too_much = Event::Delivery(Delivery::new(Token::new(3), Message::new("12")));
    broker.is_lost.store(true, Ordering::SeqCst);
    // The second is over, and the third leaves no room: the intake is to be closed.
    broker.tell([Event::Revoking(revoking), delivery(2, "b", 1), too_much]);
    until(|| handle.tally().lost == 1).await;
    broker.tell([delivery(2, "c", 0)]);
    until(|| handle.buffered() == 1).await;
    assert_eq!(*broker.verdicts.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_not_closed_when_its_time_is_over_is_told_of() {
    let lines = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&lines);
    let _guard = at_words("the source did not close as it should", move || {
        told.fetch_add(1, Ordering::SeqCst);
    });
    let (ctx, _canceller) = Context::root();
    let broker = Told::default();
    let at_once = |_: Context, _: Incoming<Message>| ready(());
    for is_deaf in [false, true] {
        broker.is_deaf.store(is_deaf, Ordering::SeqCst);
        let handle = Consumer::new(subscription(), at_once).spawn(&ctx, Arc::new(broker.clone()));
        handle.settled().await;
        handle.stop();
        assert_eq!(handle.settled().await, State::Stopped);
        assert_eq!(lines.load(Ordering::SeqCst), usize::from(is_deaf));
    }
}
