//! What happens between a look at how things are and the wait that follows must not be missed.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::inbox::{Claim, Commit, Inbox, Ticket};
use downhaul_consumer::testing::FaultyBroker;
use downhaul_consumer::{
    Consumer, Failure, Incoming, KillSwitch, MemoryBroker, Message, StoreError,
};
use downhaul_context::{Canceller, Context};
use tokio::time::{sleep, timeout};

use crate::support::{SECOND, at_words, publish, spawn, subscription, until};

#[tokio::test(start_paused = true)]
async fn a_kill_switch_whose_pause_ends_while_verdicts_are_settled_lets_messages_in_again() {
    let (ctx, _canceller) = Context::root();
    let memory = MemoryBroker::new();
    let broker = FaultyBroker::over(Arc::new(memory.clone()));
    let faults = broker.faults();
    let handle = |_: Context, message: Incoming<Message>| async move {
        match message.id() {
            "bad" => Err(Failure::permanent("no database")),
            "slow" => {
                sleep(SECOND * 9).await; // tidy: on the paused clock
                Ok(())
            }
            _ => Ok(()),
        }
    };
    let switch = KillSwitch::default().at_least(1).pause(10 * SECOND);
    let consumer = Consumer::new(subscription(), handle).kill_switch(switch);
    let handle = consumer.spawn(&ctx, Arc::new(broker));
    handle.settled().await;
    publish(&memory, Message::new("").with_id("slow")).await;
    until(|| handle.in_flight().len() == 1).await;
    publish(&memory, Message::new("").with_id("bad")).await;
    handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    publish(&memory, Message::new("").with_id("next")).await;
    // From the ninth second to the eleventh.
    faults.slow_settlements(2 * SECOND);
    let both = async {
        while handle.tally().acked < 2 {
            sleep(SECOND).await; // tidy: on the paused clock
        }
    };
    timeout(60 * SECOND, both).await.expect("it takes messages again");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_pause_is_seen_also_where_no_message_comes() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, message: Incoming<Message>| {
        let is_bad = message.id() == "bad";
        ready(if is_bad { Err(Failure::permanent("bad")) } else { Ok(()) })
    };
    let switch = KillSwitch::default().at_least(2).share(0.5).pause(10 * SECOND);
    let consumer = Consumer::new(subscription(), handle).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("bad")).await;
    until(|| handle.tally().dead_lettered == 1).await;
    // This one is ready at once, and the last that comes.
    publish(&broker, Message::new("").with_id("good")).await;
    handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    let over = handle.wait_for(|status| status.suspended_until.is_none());
    timeout(60 * SECOND, over).await.expect("it is over").unwrap();
}

/// Takes the canceller at the word, and does this with it.
fn at_the_word(
    word: &'static str,
    canceller: Canceller,
    act: impl Fn(Canceller) + Send + Sync + 'static,
) -> tracing::subscriber::DefaultGuard {
    let canceller = Mutex::new(Some(canceller));
    at_words(word, move || {
        if let Some(canceller) = canceller.lock().unwrap().take() {
            act(canceller);
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_context_that_drains_just_before_a_consumer_waits_ends_it() {
    let (ctx, canceller) = Context::root();
    let drain = |canceller: Canceller| {
        canceller.drain(3600 * SECOND);
        canceller.disarm();
    };
    let _guard = at_the_word("starting -> running", canceller, drain);
    let at_once = |_: Context, _: Incoming<Message>| ready(());
    let handle = Consumer::new(subscription(), at_once).spawn(&ctx, Arc::new(MemoryBroker::new()));
    timeout(60 * SECOND, handle.ended()).await.expect("it ends");
}

/// A store that never answers.
#[derive(Debug)]
struct Stuck;

#[async_trait]
impl Inbox for Stuck {
    async fn claim(&self, _: &str, _: &str, _: Duration) -> Result<Claim, StoreError> {
        pending().await
    }

    async fn commit(&self, _: &Ticket) -> Result<Commit, StoreError> {
        pending().await
    }

    async fn release(&self, _: &Ticket) -> Result<(), StoreError> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_context_that_ends_just_before_a_draining_consumer_waits_ends_what_it_does() {
    let (outer, canceller) = Context::root();
    let (ctx, draining) = outer.derive().build();
    let _guard = at_the_word("running -> draining", canceller, drop);
    let (broker, at_once) = (MemoryBroker::new(), |_: Context, _: Incoming<Message>| ready(()));
    let consumer = Consumer::new(subscription(), at_once).dedupe(Arc::new(Stuck));
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    let is_taken = || (broker.depth("q").unsettled, handle.buffered()) == (1, 0);
    until(is_taken).await;
    draining.drain(3600 * SECOND);
    timeout(60 * SECOND, handle.ended()).await.expect("it ends");
    assert_eq!((handle.tally().abandoned, broker.depth("q").ready), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn those_behind_a_message_that_is_abandoned_are_given_back() {
    let (ctx, canceller) = Context::root();
    let (broker, at_once) = (MemoryBroker::new(), |_: Context, _: Incoming<Message>| ready(()));
    let consumer = Consumer::new(subscription(), at_once).dedupe(Arc::new(Stuck)).ordered();
    let handle = spawn(consumer, &ctx, &broker).await;
    for _ in 0..2 {
        publish(&broker, Message::new("").with_key("a")).await;
    }
    until(|| handle.buffered() == 1).await;
    canceller.cancel();
    handle.ended().await;
    assert_eq!((handle.tally().abandoned, handle.tally().released), (1, 1));
    assert_eq!((handle.buffered(), broker.depth("q").ready), (0, 2));
}
