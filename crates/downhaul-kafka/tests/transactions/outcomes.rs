//! What a delivery leads to, and when it can be seen.

use downhaul_consumer::{Broker, BrokerErrorKind, Outgoing, PublishOutcome, Verdict};
use downhaul_context::Context;

use crate::support::{
    LONG, STEP, close, death, emit, ids, names, once, open, outcome_of, queue, receive, send,
    settle, until_visible, visible,
};

#[tokio::test(flavor = "multi_thread")]
async fn outputs_become_visible_with_the_offsets_of_their_messages() {
    let names = names();
    names.publish(ids(10)).await;
    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 10).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    assert_eq!((names.seen().await.len(), names.committed().await), (0, 0));

    settle(&mut *source, &deliveries, Verdict::Ack).await;
    close(source).await;
    names.shows(once(ids(10))).await;
    assert_eq!(names.committed().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_do_so_in_time_while_the_source_goes_on() {
    let names = names();
    names.publish(ids(10)).await;
    let broker = names.often();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 10).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
        settle(&mut *source, std::slice::from_ref(delivery), Verdict::Ack).await;
    }
    names.shows(once(ids(10))).await;
    let offsets = async { while names.committed().await < 10 {} };
    tokio::time::timeout(LONG, offsets).await.unwrap();
    drop(source);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_emitted_and_not_settled_is_never_seen_and_its_message_comes_again() {
    let names = names();
    names.publish(ids(10)).await;
    let broker = names.often();
    let mut source = open(&broker, &names.subscription()).await;
    for delivery in receive(&mut *source, 10).await {
        emit(&broker, &names.outcome(&delivery)).await;
    }
    // As a crash does: nothing is settled.
    drop(source);

    let mut source = open(&broker, &names.subscription()).await;
    assert_eq!(names.seen().await.len(), 0);
    let deliveries = receive(&mut *source, 10).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    settle(&mut *source, &deliveries, Verdict::Ack).await;
    close(source).await;
    names.shows(once(ids(10))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_waits_for_a_transaction_does_not_wait_for_its_time() {
    let names = names();
    names.publish(ids(100)).await;
    // Too seldom to come to pass.
    let broker = names.seldom().longest_gap(10);
    let mut source = open(&broker, &names.subscription()).await;
    let mut handled = 0;
    while handled < 100 {
        let deliveries = receive(&mut *source, 1).await;
        for delivery in &deliveries {
            emit(&broker, &names.outcome(delivery)).await;
        }
        settle(&mut *source, &deliveries, Verdict::Ack).await;
        handled += deliveries.len();
    }
    close(source).await;
    names.shows(once(ids(100))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_finished_behind_an_unfinished_message_waits_for_it() {
    let names = names();
    names.publish(ids(20)).await;
    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 20).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    // Of one partition all but the second.
    let lane = deliveries[0].lane;
    let mut finished: Vec<_> = deliveries.into_iter().filter(|one| one.lane == lane).collect();
    finished.remove(1);
    settle(&mut *source, &finished, Verdict::Ack).await;
    let closed = source.close(&Context::background()).await;
    assert!(closed.is_err(), "it is in no transaction, and comes again");
    let first = finished[0].message.id().to_owned();
    names.shows(once([first.clone()])).await;
    assert_eq!(names.committed().await, 1);

    let mut source = open(&broker, &names.subscription()).await;
    let again = receive(&mut *source, 19).await;
    for delivery in &again {
        assert_ne!(delivery.message.id(), first);
        emit(&broker, &names.outcome(delivery)).await;
    }
    settle(&mut *source, &again, Verdict::Ack).await;
    close(source).await;
    names.shows(once(ids(20))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_released_leads_to_nothing_until_it_is_finished() {
    let names = names();
    names.publish(ids(1)).await;
    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let first = receive(&mut *source, 1).await;
    emit(&broker, &outcome_of(first[0].token, &names.output, "early")).await;
    settle(&mut *source, &first, Verdict::Release).await;

    let second = receive(&mut *source, 1).await;
    let late = send(&broker, &outcome_of(first[0].token, &names.output, "late")).await;
    assert!(matches!(late, PublishOutcome::Nacked), "{late:?}");
    emit(&broker, &outcome_of(second[0].token, &names.output, "right")).await;
    settle(&mut *source, &second, Verdict::Ack).await;
    close(source).await;
    names.shows(once(["right".to_owned()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retracted_is_never_seen() {
    let names = names();
    names.publish(ids(1)).await;
    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let delivery = receive(&mut *source, 1).await;
    emit(&broker, &outcome_of(delivery[0].token, &names.output, "taken back")).await;
    broker.retract(delivery[0].token);
    emit(&broker, &outcome_of(delivery[0].token, &names.output, "right")).await;
    settle(&mut *source, &delivery, Verdict::Ack).await;
    close(source).await;
    names.shows(once(["right".to_owned()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_comes_after_its_source_is_not_taken() {
    let names = names();
    names.publish(ids(4)).await;
    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let old = receive(&mut *source, 4).await;
    drop(source);
    let mut source = open(&broker, &names.subscription()).await;
    let new = receive(&mut *source, 4).await;
    for delivery in &old {
        let late = send(&broker, &names.outcome(delivery)).await;
        assert!(matches!(late, PublishOutcome::Nacked), "{late:?}");
    }
    settle(&mut *source, &new, Verdict::Ack).await;
    close(source).await;
    assert_eq!(names.seen().await.len(), 0);
    assert_eq!(names.committed().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_dead_letters_are_outcomes_like_all_others() {
    let names = names();
    names.publish(ids(2)).await;
    let broker = names.seldom();
    let (retry, dead) = (names.retry(), names.dead());
    let letters = |token| {
        let mut parked = queue(&names.group, outcome_of(token, "", "parked"));
        parked.delay = STEP;
        [parked, queue(&dead, outcome_of(token, "", "dead"))]
    };
    for is_settled in [false, true] {
        let mut source = open(&broker, &names.subscription()).await;
        let deliveries = receive(&mut *source, 2).await;
        for letter in letters(deliveries[0].token) {
            emit(&broker, &letter).await;
        }
        if is_settled {
            settle(&mut *source, &deliveries, Verdict::Ack).await;
        }
        close(source).await;
        let expected = usize::from(is_settled);
        until_visible(&retry, expected).await;
        until_visible(&dead, expected).await;
        assert_eq!(visible(&retry).await.values().sum::<usize>(), expected);
        assert_eq!(visible(&dead).await.values().sum::<usize>(), expected);
        assert_eq!(names.committed().await, if is_settled { 2 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_outcome_of_a_delivery_is_refused() {
    let names = names();
    names.publish(ids(1)).await;
    let broker = names.often();
    let sink = broker.sink(&Context::background()).await.unwrap();
    for source in [None, Some(open(&broker, &names.subscription()).await)] {
        let outgoing =
            Outgoing::to_topic(names.output.clone(), downhaul_consumer::Message::new(""));
        let error = sink.send(&outgoing).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Configuration);
        assert!(error.to_string().contains("without transactions"), "{error}");
        drop(source);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_source_is_refused_while_there_is_one() {
    let names = names();
    names.publish(ids(1)).await;
    let broker = names.often();
    let first = open(&broker, &names.subscription()).await;
    let second = broker.source(&Context::background(), &names.subscription()).await;
    let error = second.err().unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::Configuration);
    assert!(error.to_string().contains(&names.id), "{error}");
    close(first).await;
    drop(open(&broker, &names.subscription()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_refused_end_one_transaction_and_fail_their_handling_afterwards() {
    let names = names();
    names.publish(ids(4)).await;
    let broker = names.seldom();
    // It is found out of all when the transaction is made.
    for is_known in [false, true] {
        let mut source = open(&broker, &names.subscription()).await;
        let deliveries = receive(&mut *source, 4).await;
        let sink = broker.sink(&Context::background()).await.unwrap();
        for delivery in &deliveries {
            let mut outgoing = names.outcome(delivery);
            let is_refused = ["0", "1"].contains(&delivery.message.id());
            if is_refused {
                let too_much = vec![0; 2_000_000];
                outgoing.message = downhaul_consumer::Message::new(too_much);
            }
            match sink.send(&outgoing).await {
                Ok(receipt) => {
                    assert!(matches!(receipt.await, PublishOutcome::Confirmed));
                    assert!(!is_refused || !is_known);
                }
                Err(error) => {
                    assert_eq!(error.kind(), BrokerErrorKind::Message, "{error}");
                    assert!(is_refused && is_known);
                }
            }
        }
        settle(&mut *source, &deliveries, Verdict::Ack).await;
        let closed = source.close(&Context::background()).await;
        assert_eq!(closed.is_ok(), is_known);
        let seen = if is_known { once(ids(4).skip(2)) } else { once([]) };
        names.shows(seen).await;
    }
    assert_eq!(names.committed().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_fails_is_the_end_of_its_source_and_keeps_no_reader_waiting() {
    let names = names();
    names.publish(ids(4)).await;
    let broker = names.often();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 4).await;
    for delivery in &deliveries[1..] {
        emit(&broker, &names.outcome(delivery)).await;
    }
    let mut outgoing = names.outcome(&deliveries[0]);
    outgoing.message = downhaul_consumer::Message::new(vec![0; 2_000_000]);
    emit(&broker, &outgoing).await;
    settle(&mut *source, &deliveries, Verdict::Ack).await;
    let error = death(&mut *source).await;
    assert!(error.to_string().contains("publish"), "{error}");
    assert_eq!((names.seen().await.len(), names.committed().await), (0, 0));
    // They read on behind it, and no other source has ended it.
    let behind = || ids(24).skip(4);
    names.publish_to(&names.output, behind()).await;
    names.shows(once(behind())).await;
}
