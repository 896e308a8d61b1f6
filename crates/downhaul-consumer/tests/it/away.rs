//! That a broker is away, as its consumers say it.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use downhaul_consumer::{
    BrokerError, BrokerErrorKind, Consumer, ConsumerHandle, Event, Incoming, Link, MemoryBroker,
    Message, State, Status,
};
use downhaul_context::Context;

use crate::support::{SECOND, count_words, subscription, until};
use crate::told::{Told, delivery};

/// Each of many consumers would say so at each attempt, in an outage that one broker explains.
#[tokio::test(start_paused = true)]
async fn that_a_broker_is_away_is_said_once_and_so_is_that_it_is_back() {
    let (_lines, said) = count_words(["no link to the broker", "the link to the broker is back"]);
    let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
    broker.set_reachable(false);
    let handle = consumer().spawn(&ctx, Arc::new(broker.clone()));
    tokio::time::sleep(60 * SECOND).await; // tidy: on the paused clock
    broker.set_reachable(true);
    assert_eq!(handle.settled().await, State::Running);
    assert_eq!(said.map(|count| count.load(Ordering::SeqCst)), [1, 1]);
}

/// One that has nothing to do.
fn consumer() -> Consumer {
    Consumer::new(subscription(), |_: Context, _: Incoming<Message>| ready(()))
}

/// One that runs, on a broker that says what it is told to.
async fn told(ctx: &Context) -> (Told, ConsumerHandle) {
    let broker = Told::default();
    let handle = consumer().spawn(ctx, Arc::new(broker.clone()));
    handle.settled().await;
    (broker, handle)
}

/// Lets the source say that its broker is away, and waits until the consumer says so.
async fn goes_away(broker: &Told, handle: &ConsumerHandle) -> Status {
    broker.tell([away()]);
    handle.wait_for(|status| !matches!(status.link, Link::Up)).await.unwrap()
}

fn away() -> Event {
    Event::Away(BrokerError::new(BrokerErrorKind::Unreachable, "not a word"))
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_source_waits_for_its_broker_has_no_link_until_it_answers() {
    let (ctx, _canceller) = Context::root();
    let (broker, handle) = told(&ctx).await;
    let status = goes_away(&broker, &handle).await;
    let Link::Recovering { error, .. } = status.link else { panic!("{:?}", status.link) };
    assert_eq!((&*error, status.state), ("not a word", State::Running));
    // What was delivered is still its own.
    broker.tell([delivery(1, "a", 1)]);
    until(|| handle.tally().acked == 1).await;
    assert!(matches!(handle.status().link, Link::Recovering { .. }));
    broker.tell([Event::Back]);
    handle.wait_for(|status| matches!(status.link, Link::Up)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_lost_while_its_broker_is_away_was_without_a_link_since_then() {
    let (ctx, _canceller) = Context::root();
    let (broker, handle) = told(&ctx).await;
    let status = goes_away(&broker, &handle).await;
    let Link::Recovering { since, .. } = status.link else { panic!("{:?}", status.link) };
    broker.is_shut.store(true, Ordering::SeqCst);
    broker.is_lost.store(true, Ordering::SeqCst);
    handle.pause();
    let is_tried = |link: &Link| matches!(link, Link::Recovering { attempt: 1.., .. });
    let status = handle.wait_for(|status| is_tried(&status.link)).await.unwrap();
    assert!(matches!(status.link, Link::Recovering { since: at, .. } if at == since));
}

/// Whoever has several links of its own may say so of each.
#[tokio::test(start_paused = true)]
async fn a_source_may_say_twice_that_its_broker_is_away_and_it_is_told_once() {
    let (_lines, said) = count_words(["the broker does not answer", "the broker answers again"]);
    let (ctx, _canceller) = Context::root();
    let (broker, handle) = told(&ctx).await;
    broker.tell([Event::Back, away(), away(), Event::Back, Event::Back, delivery(1, "a", 1)]);
    until(|| handle.tally().acked == 1).await;
    assert_eq!(said.map(|count| count.load(Ordering::SeqCst)), [1, 1]);
}
