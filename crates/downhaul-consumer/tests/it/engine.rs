//! The engine under a clock that tests step, and brokers that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use downhaul_consumer::headers::{ATTEMPT, REQUEST_ID};
use downhaul_consumer::{
    Consumer, ConsumerHandle, Failure, Incoming, Link, MemoryBroker, Message, RetryPolicy, State,
};
use downhaul_context::{Canceller, CauseKind, Context, RequestId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::scripted::Scripted;
use crate::support::{SECOND, publish, spawn, subscription};

async fn until_in_flight(handle: &ConsumerHandle) {
    while handle.in_flight().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// A handler that tells of each message and of how its context ended.
fn waiting(told: mpsc::UnboundedSender<CauseKind>) -> Consumer {
    Consumer::new(subscription(), move |ctx: Context, _message: Incoming<Message>| {
        let told = told.clone();
        async move {
            let cause = ctx.done().await;
            told.send(cause.kind())?;
            Err::<(), _>(Failure::from(cause))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_seen_and_waited_for() {
    let broker = MemoryBroker::new();
    broker.set_reachable(false);
    let (ctx, _canceller) = Context::root();
    async fn handle(_ctx: Context, _message: Incoming<Message>) {}
    let handle = Consumer::new(subscription(), handle).spawn(&ctx, Arc::new(broker.clone()));
    let mut status = handle.watch();
    let third = |link: &Link| matches!(link, Link::Recovering { attempt: 3.., .. });
    let seen = status.wait_for(|status| third(&status.link)).await.unwrap().clone();
    assert_eq!(seen.state, State::Starting);
    broker.set_reachable(true);
    assert_eq!(handle.settled().await, State::Running);
    assert!(matches!(handle.status().link, Link::Up));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_stops_at_once_while_it_waits_for_its_broker() {
    let broker = MemoryBroker::new();
    broker.set_reachable(false);
    let (ctx, _canceller) = Context::root();
    async fn handle(_ctx: Context, _message: Incoming<Message>) {}
    let handle = Consumer::new(subscription(), handle).spawn(&ctx, Arc::new(broker));
    let mut status = handle.watch();
    let away = |link: &Link| matches!(link, Link::Recovering { attempt: 8.., .. });
    status.wait_for(|status| away(&status.link)).await.unwrap();
    let asked = Instant::now();
    handle.stop();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_mistake_that_time_does_not_mend_fails_the_consumer_and_says_what_to_change() {
    let (ctx, canceller) = Context::root();
    async fn handle(_ctx: Context, _message: Incoming<Message>) {}
    let handle = Consumer::new(subscription(), handle).spawn(&ctx, Scripted::new([]));
    assert_eq!(handle.settled().await, State::Failed);
    let failure = handle.status().failure.unwrap();
    assert_eq!(&*failure, "queue `q` exists with other properties");
    handle.start();
    assert_eq!(handle.settled().await, State::Failed, "it tried again, in vain");
    canceller.cancel();
    handle.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_cancelled_by_its_own_deadline_and_tried_again() {
    let (ctx, _canceller) = Context::root();
    let (told, mut ends) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    let retry = RetryPolicy::default().attempts(2);
    spawn(waiting(told).handler_timeout(SECOND).retry(retry), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    assert_eq!(ends.recv().await, Some(CauseKind::Deadline));
    assert_eq!(ends.recv().await, Some(CauseKind::Deadline));
    while broker.depth("q.dead").ready == 0 {
        tokio::task::yield_now().await;
    }
    let dead = broker.ready("q.dead").remove(0);
    assert_eq!(dead.headers().get(ATTEMPT), Some("2"));
}

/// A consumer in the middle of a message, the end of its context, and what its handler tells.
async fn one_in_flight()
-> (Canceller, ConsumerHandle, MemoryBroker, mpsc::UnboundedReceiver<CauseKind>) {
    let (ctx, canceller) = Context::root();
    let (told, ends) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    let handle = spawn(waiting(told), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until_in_flight(&handle).await;
    (canceller, handle, broker, ends)
}

#[tokio::test(start_paused = true)]
async fn draining_lets_handlers_finish_until_the_grace_is_over() {
    let (canceller, handle, broker, mut ends) = one_in_flight().await;
    let asked = Instant::now();
    canceller.drain(10 * SECOND);
    handle.ended().await;
    assert_eq!(asked.elapsed(), 10 * SECOND);
    assert_eq!(ends.recv().await, Some(CauseKind::DrainGraceOver));
    assert_eq!((handle.tally().released, broker.depth("q").ready), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_its_context_ends_a_consumer_and_gives_back_what_it_holds() {
    let (canceller, handle, broker, mut ends) = one_in_flight().await;
    canceller.cancel();
    handle.ended().await;
    assert_eq!(ends.recv().await, Some(CauseKind::Cancelled));
    assert_eq!(broker.depth("q").ready, 1);
    handle.start();
    assert_eq!(handle.settled().await, State::Stopped, "a consumer that has ended stays so");
}

#[tokio::test(start_paused = true)]
async fn a_request_id_that_is_not_valid_is_replaced() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut ids) = mpsc::unbounded_channel();
    let tell = move |ctx: Context, _message: Incoming<Message>| {
        let sent = sender.send(ctx.value::<RequestId>().unwrap().clone());
        async move { Ok::<(), Failure>(sent?) }
    };
    let broker = MemoryBroker::new();
    spawn(Consumer::new(subscription(), tell), &ctx, &broker).await;
    publish(&broker, Message::new("").with_header(REQUEST_ID, "forged\nline")).await;
    assert_eq!(ids.recv().await.unwrap().as_str().len(), 36);
}

#[tokio::test(start_paused = true)]
async fn retries_wait_longer_each_time() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut attempts) = mpsc::unbounded_channel();
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        let _ = sender.send((message.attempt(), Instant::now()));
        async { Err::<(), _>(Failure::from(std::io::Error::other("no"))) }
    };
    let broker = MemoryBroker::new();
    let retry = RetryPolicy::default().attempts(4).backoff(SECOND, 60 * SECOND);
    spawn(Consumer::new(subscription(), fail).retry(retry), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    let mut last = attempts.recv().await.unwrap();
    // The full backoffs are 1, 4 and 16 s, of which at least half is taken.
    for full in [1, 4, 16] {
        let next = attempts.recv().await.unwrap();
        assert_eq!(next.0, last.0 + 1);
        let waited = next.1 - last.1;
        assert!(waited >= full * SECOND / 2 && waited <= full * SECOND, "{waited:?} of {full} s");
        last = next;
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_a_backoff() {
    let (ctx, _canceller) = Context::root();
    let attempts = Arc::new(AtomicU32::new(0));
    let last = Arc::new(AtomicU32::new(0));
    let (counted, noted) = (Arc::clone(&attempts), Arc::clone(&last));
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        noted.store(message.attempt(), Ordering::SeqCst);
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(Failure::from(std::io::Error::other("no"))) }
    };
    let broker = MemoryBroker::new();
    let patient =
        RetryPolicy::default().backoff(60 * SECOND, 60 * SECOND).in_place_up_to(60 * SECOND);
    let handle = spawn(Consumer::new(subscription(), fail).retry(patient), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    while attempts.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let asked = Instant::now();
    handle.stop();
    handle.settled().await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    // The broker holds it back for as long as the backoff, and it keeps the count of its attempts.
    assert_eq!(broker.depth("q").delayed, 1);
    assert_eq!(handle.tally().retried, 1);
    handle.start();
    while attempts.load(Ordering::SeqCst) == 1 {
        tokio::time::advance(SECOND).await;
    }
    assert!(asked.elapsed() >= 30 * SECOND);
    assert_eq!(last.load(Ordering::SeqCst), 2);
}
