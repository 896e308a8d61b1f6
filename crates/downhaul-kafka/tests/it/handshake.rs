//! A broker that is lost while it is asked who is there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use downhaul_consumer::{Broker, BrokerErrorKind};
use downhaul_context::Context;

use crate::support::{kafka, opening, soon, subscription};

const API_VERSIONS: i16 = 18;
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// Says what it can do, and hangs up when it is asked for `until`.
fn broker_that_goes(until: i16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || stream.and_then(|stream| serve(stream, until)));
        }
    });
    address
}

fn serve(mut stream: TcpStream, until: i16) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut request)?;
        let key = i16::from_be_bytes([request[0], request[1]]);
        if key == until {
            return Ok(());
        }
        let body = if key == API_VERSIONS { versions() } else { mechanisms() };
        let answer = [&request[4..8], &body].concat();
        stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// Version 3 of the answer: no error; what is there, from the first version to the last.
fn versions() -> Vec<u8> {
    let apis = [(0, 7), (1, 11), (2, 5), (3, 9), (SASL_HANDSHAKE, 1), (API_VERSIONS, 3)];
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

/// Its connections break wherever they are, when it is stopped, and the next broker may be well.
#[tokio::test]
async fn a_broker_that_is_lost_while_it_is_logged_in_to_is_no_wrong_configuration() {
    for until in [SASL_HANDSHAKE, SASL_AUTHENTICATE] {
        let kafka = kafka(&broker_that_goes(until).to_string())
            .property("security.protocol", "sasl_plaintext")
            .property("sasl.mechanism", "PLAIN")
            .property("sasl.username", "user")
            .property("sasl.password", "hush");
        let error = opening(&kafka, &subscription("lost")).await;
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{until}: {}", error.chain());
        let ctx = Context::background();
        let error = soon("it fails", kafka.sink(&ctx)).await.err().unwrap();
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{until}: {}", error.chain());
    }
}
