//! What a record is made of: those of others, and our own as others see them.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, Incoming, Json, Message, Outgoing, PublishOutcome, Verdict, headers,
};
use downhaul_context::Context;
use downhaul_kafka::{Kafka, NewTopics, TOMBSTONE};
use downhaul_testkit::kafka::shared;
use tokio::sync::mpsc;

use crate::support::{
    Foreigner, Raw, all, close, publish, settle, shared_broker, sink, soon, source, spawn,
    subscription, take, text, until,
};

/// What cannot be decoded is a dead letter, with all that it had, and what is behind it goes on.
#[tokio::test]
async fn a_poison_record_does_not_hold_up_its_partition() {
    let (broker, foreigner) = (Arc::new(shared_broker()), Foreigner::shared());
    let subscription = subscription("poison");
    let topic = subscription.queue();
    foreigner.make(&[topic], 1).await;
    let value = |value: &[u8]| Raw {
        key: Some(b"k".to_vec()),
        value: Some(value.to_vec()),
        headers: vec![("tenant".to_owned(), Some(b"blue".to_vec()))],
        ..Raw::default()
    };
    for bytes in [&b"1"[..], b"{ not json \xff", b"2"] {
        foreigner.append_raw(topic, &value(bytes)).await;
    }
    let (sender, mut told) = mpsc::unbounded_channel();
    let tell = move |_ctx: Context, number: Incoming<Json<u32>>| {
        let _ = sender.send(number.body.0);
        async {}
    };
    let consumer = Consumer::new(subscription.clone(), tell);
    let consumer = spawn(consumer, Arc::clone(&broker) as _).await;
    for wanted in [1, 2] {
        assert_eq!(soon("a number", told.recv()).await, Some(wanted));
    }
    until("the commit", async || foreigner.committed_of(&subscription).await == Some(3)).await;
    assert_eq!(consumer.tally().dead_lettered, 1);
    let letter = foreigner.read(&subscription.dead_letter_queue(), 1).await.remove(0);
    assert_eq!(letter.value.as_deref(), Some(&b"{ not json \xff"[..]));
    assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(known, _)| known == name);
        String::from_utf8(found.unwrap().1.clone().unwrap()).unwrap()
    };
    assert_eq!((header("tenant"), header("topic")), ("blue".to_owned(), topic.to_owned()));
    assert_eq!(header(headers::ORIGIN_QUEUE), topic);
    assert_eq!(header("message-id"), format!("{topic}-0-1"), "its place");
    let position = (header(headers::ORIGIN_PARTITION), header(headers::ORIGIN_OFFSET));
    assert_eq!(position, ("0".to_owned(), "1".to_owned()));
    assert!(header(headers::TIMESTAMP).parse::<u64>().unwrap() > 1_700_000_000_000);
    assert!(header(headers::DEAD_REASON).contains("JSON"), "{}", header(headers::DEAD_REASON));
    consumer.stop();
    soon("it stops", consumer.settled()).await;
}

/// Of every shape that there is.
#[tokio::test]
async fn records_of_others_are_read_as_far_as_they_are_text() {
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("foreign").with_prefetch(100);
    let topic = subscription.queue();
    foreigner.make(&[topic], 1).await;
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let raws = [
        Raw { value: Some(b"bare".to_vec()), ..Raw::default() },
        Raw { key: Some(vec![0xff, b'k', 0]), value: Some(vec![]), ..Raw::default() },
        Raw { key: Some(b"gone".to_vec()), value: None, ..Raw::default() },
        Raw {
            key: Some(vec![]),
            value: Some(b"headers".to_vec()),
            headers: vec![
                header("twice", b"one"),
                header("twice", b"two"),
                header("binary", &[0xff, b'b']),
                ("null".to_owned(), None),
                header("empty", b""),
                header("message-id", b"its-own"),
                header("content-type", b"text/plain"),
            ],
            ..Raw::default()
        },
        Raw {
            value: Some(b"no id".to_vec()),
            headers: vec![header("message-id", b""), header("due-ms", b"99999999999999")],
            ..Raw::default()
        },
    ];
    for raw in &raws {
        foreigner.append_raw(topic, raw).await;
    }
    let mut source = source(&broker, &subscription).await;
    let deliveries = take(&mut *source, raws.len()).await;
    let messages: Vec<_> = deliveries.iter().map(|delivery| &delivery.message).collect();
    let get = |index: usize, name: &str| messages[index].headers().get(name);

    assert_eq!((text(messages[0]).as_str(), messages[0].key()), ("bare", None));
    assert_eq!(messages[0].id(), format!("{topic}-0-0"));
    assert_eq!(messages[0].headers().iter().count(), 0);
    assert_eq!(deliveries[0].topic.as_deref(), Some(topic));
    assert_eq!((messages[1].key(), messages[1].payload().len()), (None, 0));
    assert_eq!(messages[1].key_bytes(), raws[1].key.as_deref(), "as it came");
    assert_eq!(get(1, TOMBSTONE), None, "empty is not nothing");
    assert_eq!((messages[2].key(), get(2, TOMBSTONE)), (Some("gone"), Some("true")));
    assert!(messages[2].payload().is_empty());
    assert_eq!(messages[3].key(), Some(""));
    assert_eq!((get(3, "twice"), get(3, "binary")), (Some("two"), None));
    assert_eq!(messages[3].headers().get_bytes("binary"), Some([0xff, b'b'].as_slice()));
    assert_eq!((get(3, "null"), get(3, "empty")), (Some(""), Some("")));
    assert_eq!((messages[3].id(), messages[3].content_type()), ("its-own", "text/plain"));
    assert_eq!((get(3, "message-id"), get(3, "content-type")), (None, None), "not twice");
    assert_eq!(messages[4].id(), format!("{topic}-0-4"));
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}

/// With the same partition for the same key as clients in Java choose it.
#[tokio::test]
async fn others_read_our_records() {
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("ours");
    let topic = subscription.queue();
    foreigner.make(&[topic], 4).await;
    let sink = sink(&broker).await;
    let message = Message::new("body")
        .with_id("an-id")
        .with_key("customer-7")
        .with_content_type("application/json")
        .with_header("tenant", "Ünal & Söhne");
    let outcome = publish(&*sink, &Outgoing::to_topic(topic, message)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let raw = foreigner.read(topic, 1).await.remove(0);
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let wanted = Raw {
        partition: murmur2(b"customer-7") % 4,
        offset: 0,
        key: Some(b"customer-7".to_vec()),
        value: Some(b"body".to_vec()),
        headers: vec![
            header("message-id", "an-id"),
            header("content-type", "application/json"),
            header("tenant", "Ünal & Söhne"),
        ],
    };
    assert_eq!(raw, wanted);
}

/// As Kafka's clients in Java compute it, without the sign.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    i32::try_from((hash ^ hash >> 15) & 0x7fff_ffff).unwrap()
}

#[tokio::test]
async fn a_tombstone_stays_one_when_it_is_published_on() {
    let (broker, foreigner) = (shared_broker(), Foreigner::shared());
    let subscription = subscription("tombstone");
    let topic = subscription.queue();
    foreigner.make(&[topic], 1).await;
    let sink = sink(&broker).await;
    let gone = Message::new("").with_key("k").with_header(TOMBSTONE, "true");
    let kept = Message::new("not empty").with_header(TOMBSTONE, "true");
    let empty = Message::new("").with_key("k");
    for message in [gone, kept, empty] {
        let outcome = publish(&*sink, &Outgoing::to_topic(topic, message)).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    let raws = foreigner.read(topic, 3).await;
    assert_eq!(raws[0].value, None);
    assert!(raws[0].headers.iter().all(|(name, _)| name != TOMBSTONE), "it is no header there");
    assert_eq!(raws[1].value.as_deref(), Some(&b"not empty"[..]));
    assert_eq!(raws[2].value.as_deref(), Some(&b""[..]));
}

/// Also of records that have neither an id nor a key.
#[tokio::test]
async fn what_belongs_to_a_group_is_in_topics_of_the_documented_names() {
    let foreigner = Foreigner::shared();
    let subscription = subscription("named");
    let group = subscription.queue();
    let broker = Kafka::new(&shared())
        .unwrap()
        .create_topics(NewTopics::partitions(2))
        .retry_steps(&[Duration::from_millis(500), Duration::from_secs(90)]);
    let opened = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let dead = subscription.dead_letter_queue();
    assert_eq!(dead, format!("{group}.dead"));
    let to = |queue: &str, delay: u64| {
        let message = Message::new(format!("{queue} after {delay}"));
        Outgoing::to_queue(queue, message).after(Duration::from_millis(delay))
    };
    for outgoing in [to(group, 0), to(group, 500), to(group, 501), to(&dead, 0)] {
        let outcome = publish(&*sink, &outgoing).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    let values = async |topic: &str, count: usize| -> Vec<String> {
        let raws = foreigner.read(topic, count).await;
        raws.into_iter().map(|raw| String::from_utf8(raw.value.unwrap()).unwrap()).collect()
    };
    let wanted = [format!("{group} after 0"), format!("{group} after 500")];
    assert_eq!(values(&format!("{group}.retry.500ms"), 2).await, wanted);
    assert_eq!(values(&format!("{group}.retry.90s"), 1).await, [format!("{group} after 501")]);
    assert_eq!(values(&dead, 1).await, [format!("{dead} after 0")]);
    let error = sink.send(&to(group, 90_001)).await.err().unwrap();
    assert_eq!(error.kind(), downhaul_consumer::BrokerErrorKind::Message);
    assert!(error.to_string().contains("90s"), "{error}");
    drop(opened);
    broker.close(&Context::background()).await;
}

/// Such a header would end up as what the record is.
#[tokio::test]
async fn a_header_of_a_message_does_not_change_its_id_its_media_type_or_when_it_is_due() {
    let (broker, subscription) = (shared_broker(), subscription("named-alike"));
    let mut source = source(&broker, &subscription).await;
    let message = Message::json(&7)
        .unwrap()
        .with_id("seven")
        .with_header("message-id", "eight")
        .with_header("content-type", "text/plain")
        .with_header("due-ms", "9000000000000")
        .with_header("tenant", "blue");
    let outgoing = Outgoing::to_topic(subscription.queue(), message);
    let outcome = publish(&*sink(&broker).await, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let deliveries = take(&mut *source, 1).await;
    let arrived = &deliveries[0].message;
    assert_eq!((arrived.id(), arrived.content_type()), ("seven", "application/json"));
    assert!(arrived.headers().iter().eq([("tenant", &"blue".into())]), "{arrived:?}");
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}
