//! Consumers that stop taking messages while nearly all of them fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use downhaul_consumer::{
    Batches, Consumer, Failure, Incoming, KillSwitch, MemoryBroker, Message, RetryPolicy,
};
use downhaul_context::{Context, Instant};
use tokio::sync::{Notify, mpsc};

use crate::support::{SECOND, count_words, publish, publish_numbers, spawn, subscription, until};

/// A consumer that fails as long as it is told to.
fn failing_while(fails: &Arc<AtomicBool>) -> (Consumer, mpsc::UnboundedReceiver<Instant>) {
    let (sender, calls) = mpsc::unbounded_channel();
    let fails = Arc::clone(fails);
    let handle = move |_: Context, _: Incoming<Message>| {
        let _ = sender.send(Instant::now());
        let fails = fails.load(Ordering::SeqCst);
        async move {
            match fails {
                true => Err(Failure::from(std::io::Error::other("the database is down"))),
                false => Ok(()),
            }
        }
    };
    let switch = KillSwitch::default().at_least(4).share(0.5).pause(30 * SECOND);
    let patient = RetryPolicy::default().attempts(100).backoff(SECOND, SECOND);
    let consumer = Consumer::new(subscription(), handle).retry(patient).kill_switch(switch);
    (consumer.concurrency(1), calls)
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_messages_fail_lets_them_lie_and_tries_one_after_a_while() {
    let (ctx, _canceller) = Context::root();
    let (broker, fails) = (MemoryBroker::new(), Arc::new(AtomicBool::new(true)));
    let (consumer, mut calls) = failing_while(&fails);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 20).await;
    for _ in 0..4 {
        calls.recv().await.unwrap();
    }
    let suspended = handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    let until_when = suspended.suspended_until.unwrap();
    assert_eq!((until_when - Instant::now()).as_secs(), 30);
    assert!(calls.is_empty(), "nothing is begun");
    let tried = calls.recv().await.unwrap();
    assert_eq!(tried, until_when);
    // It fails, and another pause begins.
    handle.wait_for(|status| status.suspended_until.is_some_and(|at| at > tried)).await.unwrap();
    fails.store(false, Ordering::SeqCst);
    let again = calls.recv().await.unwrap();
    assert_eq!((again - tried).as_secs(), 30);
    handle.wait_for(|status| status.suspended_until.is_none()).await.unwrap();
    while handle.tally().acked < 20 {
        tokio::time::advance(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_said_once_that_a_kill_switch_is_open_and_once_that_it_is_closed() {
    let (ctx, _canceller) = Context::root();
    let (broker, fails) = (MemoryBroker::new(), Arc::new(AtomicBool::new(true)));
    let (_guard, [opened, closed]) = count_words(["too much fails", "kill switch is closed"]);
    let (consumer, mut calls) = failing_while(&fails);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 20).await;
    // Four attempts, and two that are tried alone.
    for _ in 0..6 {
        calls.recv().await.unwrap();
    }
    assert_eq!((opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (1, 0));
    fails.store(false, Ordering::SeqCst);
    calls.recv().await.unwrap();
    handle.wait_for(|status| status.suspended_until.is_none()).await.unwrap();
    assert_eq!((opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_with_an_open_kill_switch_stops_at_once() {
    let (ctx, _canceller) = Context::root();
    let (broker, fails) = (MemoryBroker::new(), Arc::new(AtomicBool::new(true)));
    let (consumer, _calls) = failing_while(&fails);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 20).await;
    handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    let asked = Instant::now();
    handle.drain();
    handle.settled().await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    let depth = broker.depth("q");
    assert_eq!((depth.ready + depth.delayed, depth.unsettled), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_tries_one_message_however_many_could_be_handled() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (MemoryBroker::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let handle = move |_: Context, _: Incoming<Message>| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if call >= 4 {
                std::future::pending::<()>().await;
            }
            Err::<(), _>(Failure::from(std::io::Error::other("the database is down")))
        }
    };
    let switch = KillSwitch::default().at_least(4).pause(30 * SECOND);
    let consumer = Consumer::new(subscription(), handle).concurrency(4).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 20).await;
    let open = handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    tokio::time::sleep_until(open.suspended_until.unwrap() + SECOND).await; // tidy: paused clock
    until(|| handle.in_flight().len() == 1).await;
    tokio::time::advance(10 * SECOND).await;
    assert_eq!((handle.in_flight().len(), calls.load(Ordering::SeqCst)), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn messages_that_have_expired_do_not_open_a_kill_switch() {
    for in_batches in [false, true] {
        let (ctx, _canceller) = Context::root();
        let broker = MemoryBroker::new();
        let one = |_: Context, _: Incoming<Message>| async {};
        let many = |_: Context, _: Vec<Incoming<Message>>| async {};
        let consumer = match in_batches {
            false => Consumer::new(subscription(), one),
            true => Consumer::batches(subscription(), Batches::of(2), many),
        };
        let switch = KillSwitch::default().at_least(4).pause(30 * SECOND);
        let handle = spawn(consumer.kill_switch(switch), &ctx, &broker).await;
        for _ in 0..8 {
            publish(&broker, Message::new("").with_deadline(SystemTime::now() - 5 * SECOND)).await;
        }
        until(|| handle.tally().dead_lettered == 8 || handle.tally().released > 0).await;
        assert_eq!(handle.status().suspended_until, None, "in batches: {in_batches}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_before_a_kill_switch_opened_is_not_the_message_that_it_tries() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (MemoryBroker::new(), Arc::new(AtomicUsize::new(0)));
    let (counted, slow) = (Arc::clone(&calls), Arc::new(Notify::new()));
    let told = Arc::clone(&slow);
    let handle = move |_: Context, _: Incoming<Message>| {
        let (call, told) = (counted.fetch_add(1, Ordering::SeqCst), Arc::clone(&told));
        async move {
            match call {
                0 => told.notified().await,
                1..=4 => return Err(Failure::from(std::io::Error::other("the shop is down"))),
                _ => std::future::pending().await,
            }
            Ok(())
        }
    };
    let switch = KillSwitch::default().at_least(4).pause(30 * SECOND);
    let consumer = Consumer::new(subscription(), handle).concurrency(2).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 20).await;
    let open = handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    tokio::time::sleep_until(open.suspended_until.unwrap() + SECOND).await; // tidy: paused clock
    slow.notify_one();
    until(|| handle.tally().acked == 1 && !handle.in_flight().is_empty()).await;
    tokio::time::advance(10 * SECOND).await;
    assert_eq!((handle.in_flight().len(), calls.load(Ordering::SeqCst)), (1, 6));
}
