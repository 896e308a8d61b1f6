//! Every fault of the proxy, with a server that echoes: what passes, what does not, and who hears
//! of it.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::time::Duration;

use downhaul_testkit::proxy::{Cut, Direction, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// A server behind a proxy.
struct Pair {
    server: TcpListener,
    proxy: Proxy,
}

impl Pair {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap()).unwrap();
        Self { server, proxy }
    }

    /// Both ends of a connection through the proxy.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.address()).await.unwrap();
        (client, self.server.accept().await.unwrap().0)
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn receive(stream: &mut TcpStream, length: usize) -> String {
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// All that comes until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    send(&mut client, "hello").await;
    assert_eq!(receive(&mut server, 5).await, "hello");
    send(&mut server, "you too").await;
    assert_eq!(receive(&mut client, 7).await, "you too");
    let counts = pair.proxy.until(|counts| counts.to_client.passed == 7).await;
    assert_eq!((counts.accepted, counts.open, counts.cut), (1, 1, 0));
    assert_eq!((counts.to_upstream.taken, counts.to_upstream.passed), (5, 5));
}

#[tokio::test]
async fn an_end_passes_in_its_own_direction_alone() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    send(&mut client, "last words").await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, "last words");
    send(&mut server, "an answer").await;
    drop(server);
    assert_eq!(rest(&mut client).await, "an answer");
    let counts = pair.proxy.until(|counts| counts.open == 0).await;
    assert_eq!(counts.cut, 0);
}

#[tokio::test]
async fn much_passes_unchanged() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut echoed = vec![0; sent.len()];
    let echo = async {
        let (mut read, mut write) = server.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    };
    let (mut read, mut write) = client.split();
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, (), ()) = tokio::join!(read.read_exact(&mut echoed), writing, echo);
    assert!(echoed == sent);
}

#[tokio::test]
async fn a_finish_is_the_end_for_both_sides() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.cut(Cut::Finish);
    assert_eq!((rest(&mut client).await, rest(&mut server).await), (String::new(), String::new()));
    let counts = pair.proxy.until(|counts| counts.open == 0).await;
    assert_eq!(counts.cut, 1);
}

#[tokio::test]
async fn a_reset_is_an_error_for_both_sides() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.cut(Cut::Reset);
    for stream in [&mut client, &mut server] {
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_cut_is_for_all_that_are_open_and_for_none_that_come_later() {
    let pair = Pair::new().await;
    let (mut first, _first) = pair.connect().await;
    let (mut second, _second) = pair.connect().await;
    pair.proxy.cut(Cut::Finish);
    assert_eq!((rest(&mut first).await, rest(&mut second).await), (String::new(), String::new()));
    let (mut client, mut server) = pair.connect().await;
    send(&mut client, "hello").await;
    assert_eq!(receive(&mut server, 5).await, "hello");
    assert_eq!(pair.proxy.counts().cut, 2);
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    let pair = Pair::new().await;
    let (client, mut server) = pair.connect().await;
    client.set_zero_linger().unwrap();
    drop(client);
    let error = server.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_blackhole_holds_back_what_goes_one_way_until_it_heals() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.blackhole(Direction::ToUpstream);
    send(&mut client, "held").await;
    send(&mut server, "passes").await;
    assert_eq!(receive(&mut client, 6).await, "passes");
    let counts = pair.proxy.until(|counts| counts.to_upstream.taken == 4).await;
    assert_eq!((counts.to_upstream.passed, counts.open), (0, 1));
    pair.proxy.heal();
    assert_eq!(receive(&mut server, 4).await, "held");
}

#[tokio::test]
async fn the_end_of_a_connection_does_not_pass_a_blackhole() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.blackhole(Direction::ToClient);
    send(&mut server, "held").await;
    drop(server);
    pair.proxy.until(|counts| counts.to_client.taken == 4).await;
    assert_eq!(client.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    pair.proxy.heal();
    assert_eq!(rest(&mut client).await, "held");
}

#[tokio::test]
async fn an_end_without_words_does_not_pass_a_blackhole_either() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.blackhole(Direction::ToClient);
    server.shutdown().await.unwrap();
    // By the time that this has passed the other way, the end has come to the proxy.
    send(&mut client, "free").await;
    assert_eq!(receive(&mut server, 4).await, "free");
    assert_eq!(client.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    pair.proxy.heal();
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_blackhole_accepts_new_connections_and_can_be_cut() {
    let pair = Pair::new().await;
    pair.proxy.blackhole(Direction::Both);
    let (mut client, mut server) = pair.connect().await;
    send(&mut client, "held").await;
    send(&mut server, "held").await;
    let held = |counts: &downhaul_testkit::proxy::Counts| {
        (counts.to_upstream.taken, counts.to_client.taken) == (4, 4)
    };
    let counts = pair.proxy.until(held).await;
    assert_eq!((counts.to_upstream.passed, counts.to_client.passed), (0, 0));
    pair.proxy.cut(Cut::Reset);
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_kept_by_each_byte_and_not_added_up() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    let hour = Duration::from_secs(3_600);
    pair.proxy.delay(Direction::ToUpstream, hour);
    let sent = Instant::now();
    for number in 1..=5 {
        send(&mut client, "x").await;
        pair.proxy.until(|counts| counts.to_upstream.taken == number).await;
    }
    let taken = Instant::now();
    assert_eq!(receive(&mut server, 5).await, "xxxxx");
    assert!(sent.elapsed() >= hour);
    assert!(taken.elapsed() <= hour + Duration::from_secs(1), "took {:?}", taken.elapsed());
    send(&mut server, "back").await;
    assert_eq!(receive(&mut client, 4).await, "back");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_lets_so_many_bytes_a_second_pass() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.throttle(Direction::ToUpstream, NonZeroU32::new(100).unwrap());
    let begun = Instant::now();
    send(&mut client, &"x".repeat(1_000)).await;
    receive(&mut server, 1_000).await;
    let took = begun.elapsed();
    assert!((9_900..10_500).contains(&took.as_millis()), "took {took:?}");
    pair.proxy.heal();
    send(&mut client, &"x".repeat(1_000)).await;
    receive(&mut server, 1_000).await;
    assert!(begun.elapsed() < took + Duration::from_secs(1));
}

#[tokio::test]
async fn half_a_frame_arrives_and_then_the_end_of_that_connection_alone() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    let (mut other_client, mut other_server) = pair.connect().await;
    pair.proxy.half_frame(Direction::ToUpstream, 5);
    send(&mut server, "the other way is free").await;
    assert_eq!(receive(&mut client, 21).await, "the other way is free");
    send(&mut client, "half a frame").await;
    assert_eq!(rest(&mut server).await, "half ");
    assert_eq!(rest(&mut client).await, "");
    send(&mut other_client, "goes on").await;
    assert_eq!(receive(&mut other_server, 7).await, "goes on");
    let counts = pair.proxy.until(|counts| counts.open == 1).await;
    assert_eq!(counts.cut, 1);
}

#[tokio::test]
async fn a_frame_that_ends_where_the_cut_would_be_arrives_whole() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    pair.proxy.half_frame(Direction::ToClient, 6);
    send(&mut server, "abc").await;
    send(&mut server, "def").await;
    assert_eq!(receive(&mut client, 6).await, "abcdef");
    assert_eq!(pair.proxy.counts().cut, 0);
    send(&mut server, "g").await;
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn what_is_refused_is_refused_until_it_heals_and_what_is_open_goes_on() {
    let pair = Pair::new().await;
    let (mut client, mut server) = pair.connect().await;
    for _ in 0..3 {
        pair.proxy.refuse();
        pair.proxy.refuse();
        let error = TcpStream::connect(pair.proxy.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        send(&mut client, "hello").await;
        assert_eq!(receive(&mut server, 5).await, "hello");
        pair.proxy.heal();
        let (mut fresh, mut accepted) = pair.connect().await;
        send(&mut fresh, "again").await;
        assert_eq!(receive(&mut accepted, 5).await, "again");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_its_clients() {
    let pair = Pair::new().await;
    drop(pair.server);
    let mut client = TcpStream::connect(pair.proxy.address()).await.unwrap();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    pair.proxy.until(|counts| counts.accepted == 1 && counts.open == 0).await;
}

#[tokio::test]
async fn nothing_outlives_a_proxy() {
    let Pair { server: listener, proxy } = Pair::new().await;
    let address = proxy.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut server = listener.accept().await.unwrap().0;
    drop(proxy);
    assert_eq!((rest(&mut client).await, rest(&mut server).await), (String::new(), String::new()));
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
