//! A broker that is lost while it is asked who is there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::thread;

use downhaul_consumer::{Broker, BrokerErrorKind as Kind};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
#[cfg(feature = "tls")]
use tokio::sync::watch;
#[cfg(feature = "tls")]
use tokio_rustls::rustls::ServerConfig;

#[cfg(feature = "tls")]
use crate::secured::Certified;
use crate::support::{kafka, opening, soon, subscription};

const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// What it answers with to who may not log in.
const DENIED: u8 = 58;

/// A broker that answers each request by its key, and hangs up where it has no answer. It is told
/// its own port.
fn broker(answer: impl Fn(i16, u16) -> Option<Vec<u8>> + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = move |key| answer(key, address.port());
            thread::spawn(move || stream.and_then(|stream| serve(stream, answer)));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: impl Fn(i16) -> Option<Vec<u8>>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut request)?;
        let Some(body) = answer(i16::from_be_bytes([request[0], request[1]])) else {
            return Ok(());
        };
        let answer = [&request[4..8], &body].concat();
        stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// Says what it can do, and hangs up when it is asked for `until`.
fn broker_that_goes(until: i16) -> SocketAddr {
    broker(move |key, _| match key {
        _ if key == until => None,
        API_VERSIONS => Some(versions()),
        _ => Some(mechanisms()),
    })
}

/// Lets nobody in, or everybody, and knows of itself alone.
fn broker_that_says(code: u8) -> SocketAddr {
    broker(move |key, port| match key {
        API_VERSIONS => Some(versions()),
        SASL_HANDSHAKE => Some(mechanisms()),
        SASL_AUTHENTICATE => Some([&[0, code, 255, 255][..], &[0; 12]].concat()),
        METADATA => Some(metadata(port)),
        _ => None,
    })
}

/// Version 3 of the answer: no error; what is there, from the first version to the last.
fn versions() -> Vec<u8> {
    let apis = [(0, 7), (1, 11), (2, 5), (METADATA, 1), (SASL_HANDSHAKE, 1), (API_VERSIONS, 3)];
    let apis = apis.into_iter().chain([(SASL_AUTHENTICATE, 1)]);
    let entry = |(key, last): (i16, i16)| {
        let [k1, k2] = key.to_be_bytes();
        let [l1, l2] = last.to_be_bytes();
        [k1, k2, 0, 0, l1, l2, 0]
    };
    let entries: Vec<_> = apis.map(entry).collect();
    let count = u8::try_from(entries.len() + 1).unwrap();
    [&[0, 0, count][..], &entries.concat(), &[0, 0, 0, 0, 0]].concat()
}

/// No error, and one mechanism.
fn mechanisms() -> Vec<u8> {
    [&[0, 0, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat()
}

/// Version 1: a broker and its controller, and no topic.
fn metadata(port: u16) -> Vec<u8> {
    let node = 1_i32.to_be_bytes();
    let host = [&[0, 9][..], b"127.0.0.1"].concat();
    let brokers = [&node[..], &node, &host, &i32::from(port).to_be_bytes(), &[255, 255]].concat();
    [&brokers, &node[..], &[0; 4]].concat()
}

fn logging_in(servers: &str) -> Kafka {
    kafka(servers)
        .property("security.protocol", "sasl_plaintext")
        .property("sasl.mechanism", "PLAIN")
        .property("sasl.username", "user")
        .property("sasl.password", "hush")
}

/// It may be its own trouble, as long as another has not been heard.
#[tokio::test]
async fn a_broker_that_lets_nobody_in_does_not_keep_from_asking_the_next_one() {
    let (denies, admits) = (broker_that_says(DENIED), broker_that_says(0));
    // Whichever is first.
    for _ in 0..6 {
        let kafka = logging_in(&format!("{denies},{admits}"));
        soon("a sink opens", kafka.sink(&Context::background())).await.unwrap();
    }
    let both = format!("{denies},{}", broker_that_says(DENIED));
    for servers in [denies.to_string(), both] {
        let error = opening(&logging_in(&servers), &subscription("denied")).await;
        assert_eq!(error.kind(), Kind::Configuration, "{}", error.chain());
    }
    let away = format!("{denies},{}", broker_that_goes(SASL_HANDSHAKE));
    let error = opening(&logging_in(&away), &subscription("denied")).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{}", error.chain());
}

/// Its connections break wherever they are, when it is stopped, and the next broker may be well.
#[tokio::test]
async fn a_broker_that_is_lost_while_it_is_logged_in_to_is_no_wrong_configuration() {
    for until in [SASL_HANDSHAKE, SASL_AUTHENTICATE] {
        let kafka = logging_in(&broker_that_goes(until).to_string());
        let error = opening(&kafka, &subscription("lost")).await;
        assert_eq!(error.kind(), Kind::Unreachable, "{until}: {}", error.chain());
        let ctx = Context::background();
        let error = soon("it fails", kafka.sink(&ctx)).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Unreachable, "{until}: {}", error.chain());
    }
}

/// Speaks TLS before a broker, with the certificate that it was last told to show.
#[cfg(feature = "tls")]
async fn veil(listener: TcpListener, to: SocketAddr, shown: watch::Receiver<Arc<Certified>>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor(&shown.borrow());
        tokio::spawn(async move {
            let mut stream = acceptor.accept(stream).await?;
            let mut broker = tokio::net::TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut broker).await
        });
    }
}

#[cfg(feature = "tls")]
fn acceptor(certified: &Certified) -> tokio_rustls::TlsAcceptor {
    let certificate = certified.made.cert.der().clone();
    let key = certified.made.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap()).into()
}

/// Which of them it was, librdkafka does not say: it has expired, or nobody vouches for it.
#[cfg(feature = "tls")]
#[tokio::test]
async fn a_certificate_that_was_good_before_may_be_renewed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let plain = broker(move |key, _| match key {
        API_VERSIONS => Some(versions()),
        METADATA => Some(metadata(address.port())),
        _ => None,
    });
    let (good, bad) = (Arc::new(Certified::new()), Arc::new(Certified::new()));
    let (show, shown) = watch::channel(Arc::clone(&good));
    tokio::spawn(veil(listener, plain, shown));
    let trusting = || {
        kafka(&address.to_string())
            .property("security.protocol", "ssl")
            .property("ssl.ca.location", good.certificate().display().to_string())
    };
    let (kafka, ctx) = (trusting(), Context::background());
    soon("a sink opens", kafka.sink(&ctx)).await.unwrap();
    show.send_replace(bad);
    for (kafka, kind) in [(kafka, Kind::Unreachable), (trusting(), Kind::Configuration)] {
        let error = soon("it fails", kafka.sink(&ctx)).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.chain().contains("certificate"), "{}", error.chain());
    }
}
