//! Others with the same transactional id: one that crashed before, and one that takes over.

use downhaul_consumer::{Broker, BrokerErrorKind, Verdict};
use downhaul_context::Context;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{
    LONG, Names, asking, client, close, death, emit, ids, names, once, open, receive, settle,
};

/// Another with the right to make transactions of this id, from now on.
pub(crate) fn usurper(id: &str) -> BaseProducer {
    let producer: BaseProducer = client().set("transactional.id", id).create().unwrap();
    producer.init_transactions(LONG).unwrap();
    producer
}

/// Begins a transaction with a message and offsets, as far as its commit.
fn begin_and_crash(names: &Names) -> BaseProducer {
    let producer = usurper(&names.id);
    producer.begin_transaction().unwrap();
    let record = BaseRecord::<'_, str, str>::to(&names.output).payload("orphan").partition(0);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(LONG).unwrap();
    let reader: BaseConsumer = client().set("group.id", &names.group).create().unwrap();
    let group = reader.group_metadata().unwrap();
    let mut offsets = TopicPartitionList::new();
    for partition in 0..2 {
        offsets.add_partition_offset(&names.input, partition, Offset::Offset(100)).unwrap();
    }
    producer.send_offsets_to_transaction(&offsets, &group, LONG).unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_predecessor_had_begun_is_undone_before_the_first_message_comes() {
    let names = names();
    names.publish(ids(4)).await;
    let names = std::sync::Arc::new(names);
    let of = std::sync::Arc::clone(&names);
    let crashed = asking(move || begin_and_crash(&of)).await;

    let broker = names.seldom();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 4).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    settle(&mut *source, &deliveries, Verdict::Ack).await;
    // It was no crash, and here it comes back to life.
    asking(move || crashed.commit_transaction(LONG)).await.unwrap_err();
    close(source).await;
    names.shows(once(ids(4))).await;
    assert_eq!(names.committed().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_taken_over_from_dies_and_leaves_nothing_behind() {
    let names = names();
    names.publish(ids(4)).await;
    let broker = names.often();
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 4).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    let id = names.id.clone();
    let _usurper = asking(move || usurper(&id)).await;
    settle(&mut *source, &deliveries, Verdict::Ack).await;
    let error = death(&mut *source).await;
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
    assert!(error.to_string().contains(&names.id), "{error}");
    assert_eq!((names.seen().await.len(), names.committed().await), (0, 0));
    drop(source);

    // It takes over in its turn.
    let mut source = open(&broker, &names.subscription()).await;
    let deliveries = receive(&mut *source, 4).await;
    for delivery in &deliveries {
        emit(&broker, &names.outcome(delivery)).await;
    }
    settle(&mut *source, &deliveries, Verdict::Ack).await;
    close(source).await;
    names.shows(once(ids(4))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_what_is_not_committed_is_refused() {
    let names = names();
    names.publish(ids(1)).await;
    let broker = names.often().consumer_property("isolation.level", "read_uncommitted");
    let opened = broker.source(&Context::background(), &names.subscription()).await;
    let error = opened.err().unwrap();
    assert!(error.is_permanent() && error.to_string().contains("isolation.level"), "{error}");
}
