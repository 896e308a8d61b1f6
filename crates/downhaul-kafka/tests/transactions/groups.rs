//! Partitions that go from one consumer to another.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Event, Incoming, Message, Outcome, Settlement, Source, State, Verdict,
};
use downhaul_context::Context;

use crate::support::{
    LONG, Names, close, emit, emitted, ids, names, once, open, plain, receive, settle,
    until_visible,
};

/// Reads on until partitions are to go, and lets them.
async fn let_go(source: &mut dyn Source) {
    let going = async {
        loop {
            let mut events = Vec::new();
            source.next(&mut events).await.unwrap();
            if events.iter().any(|event| matches!(event, Event::Revoking(_))) {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, going).await.expect("partitions to go");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_go_after_what_was_finished_of_them_is_visible() {
    let names = names();
    names.publish(ids(20)).await;
    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 20).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    settle(&mut *source, &deliveries, Verdict::Ack).await;

    let other = plain().transactional(format!("{}-2", names.id));
    let subscription = names.subscription();
    let joining = tokio::spawn(async move { open(&other, &subscription).await });
    let_go(&mut *source).await;
    // Polled, as the engine does.
    let polling = tokio::spawn(async move { while source.next(&mut Vec::new()).await.is_ok() {} });
    let second = tokio::time::timeout(LONG, joining).await.unwrap().unwrap();
    // The new owner has read from where to begin: what was finished does not come again.
    names.shows(once(ids(20))).await;
    assert_eq!(names.committed().await, 20);
    polling.abort();
    close(second).await;
}

/// A consumer with an id of its own, as another process has it.
fn member(names: &Arc<Names>, number: usize) -> ConsumerHandle {
    let of = Arc::clone(names);
    let handler = move |_ctx: Context, message: Incoming<Message>| {
        let emitted = emitted(&of, message.id());
        async move { Outcome::new(Settlement::Ack).emit(emitted) }
    };
    let broker = plain().transactional(format!("{}-{number}", names.id));
    let broker = broker.commit_every(Duration::from_millis(20), 100);
    let consumer = Consumer::new(names.subscription(), handler);
    consumer.spawn(&Context::background(), Arc::new(broker))
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_publish_everything_once() {
    const SOME: usize = 40;
    const ROUNDS: usize = 4;
    let names = Arc::new(names());
    names.publish([]).await;
    let stays = member(&names, 0);
    assert_eq!(stays.settled().await, State::Running);
    for round in 0..ROUNDS {
        let other = member(&names, round + 1);
        let ids = ids((round + 1) * SOME).skip(round * SOME);
        let (half, rest): (Vec<_>, Vec<_>) =
            ids.partition(|id| id.ends_with(['0', '2', '4', '6', '8']));
        names.publish_to(&names.input, half).await;
        assert_eq!(other.settled().await, State::Running);
        names.publish_to(&names.input, rest).await;
        until_visible(&names.output, round * SOME + SOME / 2).await;
        other.stop();
        other.wait_for(|status| status.state == State::Stopped).await;
    }
    until_visible(&names.output, ROUNDS * SOME).await;
    stays.stop();
    stays.wait_for(|status| status.state == State::Stopped).await;
    names.shows(once(ids(ROUNDS * SOME))).await;
}
