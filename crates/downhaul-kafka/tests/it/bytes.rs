//! A record as no client in Rust writes it.

use std::io::{Read, Write};
use std::net::TcpStream;

use downhaul_consumer::Verdict;

use crate::support::{all, close, mock, settle, source, subscription, take, text};

/// Appends a record to partition 0, by hand. Its checksum is 0: neither the mock nor librdkafka, as
/// it is set by itself, looks at it.
fn append(address: &str, topic: &str, value: &str, headers: &[(&[u8], &[u8])]) {
    let words = |text: &str| [&short(text.len())[..], text.as_bytes()].concat();
    let batch = batch(value, headers);
    let produce = [
        // Produce, version 7, and a number.
        &[0, 0, 0, 7, 0, 0, 0, 1][..],
        &words("by hand"),
        // In no transaction, acknowledged by the leader, within five seconds.
        &[0xff, 0xff, 0, 1, 0, 0, 0x13, 0x88],
        &long(1),
        &words(topic),
        &long(1),
        &long(0),
        &long(batch.len()),
        &batch,
    ]
    .concat();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&[&long(produce.len())[..], &produce].concat()).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    let error = 18 + topic.len();
    assert_eq!(answer[error..error + 2], [0, 0], "{answer:?}");
}

/// A batch of one record without a key.
fn batch(value: &str, headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let bytes = |bytes: &[u8]| [&[varint(bytes.len())][..], bytes].concat();
    let headers: Vec<_> =
        headers.iter().flat_map(|(name, value)| [bytes(name), bytes(value)]).collect();
    let count = varint(headers.len() / 2);
    let record =
        [&[0, 0, 0, 1][..], &bytes(value.as_bytes()), &[count], &headers.concat()].concat();
    let batch = [
        // The leader's epoch; version 2; no checksum, attributes, offset and times of its own.
        &[0, 0, 0, 0, 2][..],
        &[0; 4 + 2 + 4 + 16],
        // Of no producer that counts.
        &[0xff; 14],
        &long(1),
        &bytes(&record),
    ]
    .concat();
    [&[0; 8][..], &long(batch.len()), &batch].concat()
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_be_bytes()
}

/// Of what fits into one byte.
fn varint(number: usize) -> u8 {
    assert!(number < 64, "{number}");
    u8::try_from(2 * number).unwrap()
}

/// It would bring down the consumer, and each one that comes after it.
#[tokio::test]
async fn a_header_whose_name_is_no_text_is_left_out() {
    let subscription = subscription("unnamed");
    let (mock, kafka) = mock(1, &subscription, 1);
    let headers: [(&[u8], &[u8]); 3] =
        [(b"na\xffme", b"v"), (b"tenant", b"blue"), (b"message-id", b"one")];
    append(&mock.bootstrap_servers(), subscription.queue(), "x", &headers);
    let mut source = source(&kafka, &subscription).await;
    let deliveries = take(&mut *source, 1).await;
    let message = &deliveries[0].message;
    assert_eq!((text(message).as_str(), message.id()), ("x", "one"));
    assert!(message.headers().iter().eq([("tenant", &"blue".into())]), "{message:?}");
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}
