//! Times without end are taken as what they mean, and bring nobody down.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Batches, Broker, Consumer, DeadLetters, Failure, Incoming, KillSwitch, MemoryBroker, MemoryLog,
    Message, Outgoing, Publisher, Rate, State,
};
use downhaul_context::Context;
use tokio::time::sleep;

use crate::support::{SECOND, publish, publish_numbers, spawn, subscription, until};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_kill_switch_can_stay_open_until_somebody_restarts_the_consumer() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, message: Incoming<Message>| {
        ready(if message.id() == "bad" { Err(Failure::permanent("bad")) } else { Ok(()) })
    };
    let switch = KillSwitch::default().at_least(1).pause(Duration::MAX);
    let consumer = Consumer::new(subscription(), handle).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("bad")).await;
    handle.wait_for(|status| status.suspended_until.is_some()).await.expect("it lives");
    publish(&broker, Message::new("").with_id("good")).await;
    sleep(HOUR).await; // tidy: on the paused clock
    assert_eq!((handle.status().state, handle.tally().acked), (State::Running, 0));
    handle.restart();
    until(|| handle.tally().acked == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_can_wait_until_it_is_full() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let count = |_: Context, _: Vec<Incoming<Message>>| ready(());
    let batches = Batches::of(2).within(Duration::MAX);
    let handle = spawn(Consumer::batches(subscription(), batches, count), &ctx, &broker).await;
    publish_numbers(&broker, 1).await;
    sleep(HOUR).await; // tidy: on the paused clock
    assert_eq!((handle.status().state, handle.buffered()), (State::Running, 1));
    publish_numbers(&broker, 1).await;
    until(|| handle.tally().acked == 2).await;
}

#[tokio::test(start_paused = true)]
async fn one_message_may_be_all_that_a_rate_allows() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let at_once = |_: Context, _: Incoming<Message>| ready(());
    let consumer = Consumer::new(subscription(), at_once).rate(Rate::new(1, Duration::MAX));
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    sleep(HOUR).await; // tidy: on the paused clock
    assert_eq!((handle.status().state, handle.tally().acked), (State::Running, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_put_off_for_ever_whether_it_is_parked_or_kept() {
    for is_ordered in [false, true] {
        let (ctx, _canceller) = Context::root();
        let broker = MemoryBroker::new();
        let never = |_: Context, _: Incoming<Message>| {
            ready(Err::<(), _>(Failure::retry_after(Duration::MAX, "not in this life")))
        };
        let consumer = Consumer::new(subscription(), never);
        let consumer = if is_ordered { consumer.ordered() } else { consumer };
        let handle = spawn(consumer, &ctx, &broker).await;
        publish(&broker, Message::new("").with_key("a")).await;
        sleep(SECOND).await; // tidy: on the paused clock
        let tally = handle.tally();
        assert_eq!((tally.retried, tally.released), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_grace_without_end_does_not_end_the_consumer_before_its_handler() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let slow = |ctx: Context, _: Incoming<Message>| async move {
        ctx.done().await;
        sleep(HOUR).await; // tidy: on the paused clock
    };
    let consumer = Consumer::new(subscription(), slow).cancel_grace(Duration::MAX);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 1).await;
    until(|| handle.in_flight().len() == 1).await;
    handle.abort();
    handle.settled().await;
    assert_eq!((handle.tally().acked, handle.tally().abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_log_holds_a_message_back_for_ever_and_lets_who_revokes_take_any_time() {
    let (ctx, log) = (Context::background(), MemoryLog::new(2).with_revoke_budget(Duration::MAX));
    let _first = log.source(&ctx, &subscription()).await.unwrap();
    let _second = log.source(&ctx, &subscription()).await.unwrap();
    let publisher = Publisher::new(Arc::new(log.clone()));
    let outgoing = Outgoing::to_queue("q", Message::new("")).after(Duration::MAX);
    publisher.publish(&ctx, outgoing).await.unwrap();
    assert_eq!(log.lag("q"), 1);
}

#[tokio::test(start_paused = true)]
async fn letters_can_be_waited_for_until_there_are_as_many_as_are_wanted() {
    let (ctx, broker) = (Context::background(), MemoryBroker::new());
    drop(broker.source(&ctx, &subscription()).await.unwrap());
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&ctx, Outgoing::to_queue("q.dead", Message::new(""))).await.unwrap();
    let letters = DeadLetters::of("q", Arc::new(broker.clone())).quiet(Duration::MAX);
    assert_eq!(letters.replay(&ctx, 1, |_| true).await.unwrap().put_back, 1);
}
