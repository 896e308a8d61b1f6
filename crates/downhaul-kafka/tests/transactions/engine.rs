//! What a consumer makes of its handler's outcomes.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Consumer, Failure, Incoming, Message, Outcome, Outgoing, Publisher, RetryPolicy, Settlement,
    State,
};
use downhaul_context::Context;

use crate::support::{LONG, emitted, ids, names, once, plain, until_visible, visible};

#[tokio::test(flavor = "multi_thread")]
async fn each_message_leads_to_what_its_handler_returned_once() {
    let names = Arc::new(names());
    names.publish(ids(12)).await;
    let of = Arc::clone(&names);
    let handler = move |_ctx: Context, message: Incoming<Message>| {
        let names = Arc::clone(&of);
        async move {
            match (message.id(), message.attempt()) {
                ("0", 1) => Err(Failure::retry_after(Duration::from_millis(40), "later, parked")),
                ("1", 1) => Err(Failure::retry_after(Duration::ZERO, "later, in place")),
                ("2", _) => Err(Failure::permanent("never")),
                (id, _) => Ok(Outcome::new(Settlement::Ack).emit(emitted(&names, id))),
            }
        }
    };
    let retry = RetryPolicy::default().in_place_up_to(Duration::ZERO);
    let consumer = Consumer::new(names.subscription(), handler).retry(retry);
    let handle = consumer.spawn(&Context::background(), Arc::new(names.often()));
    until_visible(&names.output, 11).await;
    until_visible(&names.dead(), 1).await;
    handle.stop();
    handle.wait_for(|status| status.state == State::Stopped).await;
    names.shows(once(ids(12).filter(|id| id != "2"))).await;
    assert_eq!(visible(&names.retry()).await.values().sum::<usize>(), 1);
    assert_eq!(visible(&names.dead()).await.values().sum::<usize>(), 1);
    assert_eq!(names.committed().await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_outcome_is_seen_if_some_of_it_fails() {
    let names = Arc::new(names());
    names.publish(ids(3)).await;
    let of = Arc::clone(&names);
    let handler = move |_ctx: Context, message: Incoming<Message>| {
        let names = Arc::clone(&of);
        async move {
            let outcome = Outcome::new(Settlement::Ack);
            match (message.id(), message.attempt()) {
                ("0", 1) => {
                    let to_nowhere =
                        Outgoing::to_topic(format!("{}-not", names.input), Message::new(""));
                    outcome.emit(emitted(&names, "half")).emit(to_nowhere)
                }
                ("0", _) => outcome,
                (id, _) => outcome.emit(emitted(&names, id)),
            }
        }
    };
    let retry = RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(1));
    let consumer = Consumer::new(names.subscription(), handler).retry(retry);
    let handle = consumer.spawn(&Context::background(), Arc::new(names.often()));
    let all = async { while names.committed().await < 3 {} };
    tokio::time::timeout(LONG, all).await.unwrap();
    handle.stop();
    handle.wait_for(|status| status.state == State::Stopped).await;
    names.shows(once(ids(3).skip(1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_outcome_is_refused_becomes_a_dead_letter_and_the_others_go_on() {
    let names = Arc::new(names());
    names.publish(ids(6)).await;
    let of = Arc::clone(&names);
    let handler = move |_ctx: Context, message: Incoming<Message>| {
        let names = Arc::clone(&of);
        async move {
            let mut emitted = emitted(&names, message.id());
            if message.id() == "3" {
                emitted.message = Message::new(vec![0; 2_000_000]);
            }
            Outcome::new(Settlement::Ack).emit(emitted)
        }
    };
    let consumer = Consumer::new(names.subscription(), handler);
    let handle = consumer.spawn(&Context::background(), Arc::new(names.often()));
    until_visible(&names.dead(), 1).await;
    until_visible(&names.output, 5).await;
    handle.stop();
    handle.wait_for(|status| status.state == State::Stopped).await;
    names.shows(once(ids(6).filter(|id| id != "3"))).await;
    assert_eq!(visible(&names.dead()).await.values().sum::<usize>(), 1);
    assert_eq!(names.committed().await, 6);
}

/// What is too large is found out by its transaction, which fails; then less is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_is_tried_with_less() {
    let names = Arc::new(names());
    names.publish(ids(3)).await;
    // As much as librdkafka takes, without our headers.
    let large = Message::new(vec![0; 999_800]).with_id("large");
    let large = Outgoing::to_topic(names.input.clone(), large);
    Publisher::new(Arc::new(plain())).publish(&Context::background(), large).await.unwrap();
    let handler = |_ctx: Context, message: Incoming<Message>| async move {
        if message.id() == "large" { Err(Failure::permanent("never".repeat(100))) } else { Ok(()) }
    };
    let consumer = Consumer::new(names.subscription(), handler);
    let handle = consumer.spawn(&Context::background(), Arc::new(names.often()));
    until_visible(&names.dead(), 1).await;
    // The other partition is read by itself, and perhaps later.
    names.until_committed(4).await;
    handle.stop();
    handle.wait_for(|status| status.state == State::Stopped).await;
    assert_eq!(names.committed().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_marks_what_it_has_seen_is_refused() {
    let names = names();
    let handler = |_ctx: Context, _message: Incoming<Message>| async {};
    let consumer =
        Consumer::new(names.subscription(), handler).dedupe(Arc::new(MemoryInbox::new()));
    let handle = consumer.spawn(&Context::background(), Arc::new(names.often()));
    let failed = handle.wait_for(|status| status.state == State::Failed).await.unwrap();
    assert!(failed.failure.unwrap().contains("dedupe"));
}
