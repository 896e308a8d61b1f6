//! A client of HTTP/2 that writes its frames by hand, and so can write those that no client would.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::support::{Fixture, soon};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames, and the flags that go with them (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

// Settings (§6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

// Errors (§7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    async fn read(tcp: &mut OwnedReadHalf) -> Option<Self> {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        tcp.read_exact(&mut payload).await.ok()?;
        Some(Self { kind, flags, stream: u32::from_be_bytes(id), payload })
    }

    /// The four bytes at an offset of the payload: the error of a reset (0) and of a GOAWAY (4).
    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// A setting, where it is among these.
    pub(crate) fn setting(&self, wanted: u16) -> Option<u32> {
        let id = |at| u16::from_be_bytes([self.payload[at], self.payload[at + 1]]);
        (0..self.payload.len()).step_by(6).find(|&at| id(at) == wanted).map(|at| self.word(at + 2))
    }

    /// The status of an answer, which h2 writes first.
    fn status(&self) -> u16 {
        let block = match self.payload.iter().position(|byte| byte & 0xe0 != 0x20) {
            // Updates of the table's size come before all else.
            Some(start) => &self.payload[start..],
            None => &[],
        };
        match block {
            [indexed @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
            }
            [0x08 | 0x48, length, text @ ..] => digits(*length, text),
            other => panic!("no status: {other:?}"),
        }
    }
}

/// A number as HPACK writes it, with or without Huffman's code (RFC 7541 §5.2, appendix B).
fn digits(length: u8, text: &[u8]) -> u16 {
    let text = &text[..usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (&*bits, 0);
    while rest.len() >= 5 && !rest.bytes().all(|bit| bit == b'1') {
        let short = u16::from_str_radix(&rest[..5], 2).unwrap();
        let (digit, width) = match short {
            0..=2 => (short, 5),
            _ => (u16::from_str_radix(&rest[..6], 2).unwrap() - 0b1_1001 + 3, 6),
        };
        number = number * 10 + digit;
        rest = &rest[width..];
    }
    number
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

pub(crate) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

/// The head of a request whose body is to come.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head("POST", path))
}

pub(crate) fn head(method: &str, path: &str) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "t"), (":path", path)];
    pseudo.into_iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A header, as a literal that is not indexed (RFC 7541 §6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [integer(text.len()), text.as_bytes().to_vec()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let (mut bytes, mut rest) = (vec![127], value - 127);
    while rest >= 128 {
        bytes.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

/// What the server made of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    Reset(u32),
}

/// A connection whose frames are read as they come, so that the server can always write.
pub(crate) struct Peer {
    tcp: OwnedWriteHalf,
    frames: mpsc::UnboundedReceiver<Frame>,
}

impl Peer {
    /// A connection on which nothing was said yet.
    pub(crate) async fn silent(server: &Fixture) -> Self {
        Self::open(server.running.address().tcp().unwrap()).await
    }

    async fn open(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (mut read, tcp) = tcp.into_split();
        let (send, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(frame) = Frame::read(&mut read).await {
                if send.send(frame).is_err() {
                    return;
                }
            }
        });
        Self { tcp, frames }
    }

    /// A connection that has begun as it should, with these settings.
    pub(crate) async fn with(server: &Fixture, values: &[(u16, u32)]) -> Self {
        Self::silent(server).await.begin(values).await
    }

    pub(crate) async fn connect(server: &Fixture) -> Self {
        Self::with(server, &[]).await
    }

    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::open(address).await.begin(&[]).await
    }

    async fn begin(mut self, values: &[(u16, u32)]) -> Self {
        // Without a table, statuses come as they are.
        let values = [&[(HEADER_TABLE_SIZE, 0)], values].concat();
        assert!(self.send(&[PREFACE, &settings(&values)].concat()).await);
        self
    }

    /// Whether it could be written: the server may have closed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        soon(self.tcp.write_all(bytes)).await.is_ok()
    }

    /// Whether the server has not closed, as far as it was seen.
    pub(crate) fn is_open(&self) -> bool {
        !self.frames.is_closed()
    }

    /// The next frame, or nothing once the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon(self.frames.recv()).await
    }

    /// The next frame of this type, or nothing if the server closes before.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        while let Some(frame) = self.next().await {
            if frame.kind == kind {
                return Some(frame);
            }
        }
        None
    }

    /// What the server makes of a stream next; others are not looked at.
    pub(crate) async fn reply(&mut self, stream: u32) -> Reply {
        loop {
            let (answered, reply) = self.next_reply().await;
            if answered == stream {
                return reply;
            }
        }
    }

    /// What the server makes of the next stream that it says something about.
    pub(crate) async fn next_reply(&mut self) -> (u32, Reply) {
        loop {
            let frame = self.next().await.expect("the connection was closed instead of an answer");
            match frame.kind {
                HEADERS => return (frame.stream, Reply::Status(frame.status())),
                RST_STREAM => return (frame.stream, Reply::Reset(frame.word(0))),
                GOAWAY if frame.word(4) != NO_ERROR => panic!("GOAWAY {}", frame.word(4)),
                _ => {}
            }
        }
    }

    /// The bytes of a stream's answer to its end, or the error that it is reset with.
    pub(crate) async fn body(&mut self, stream: u32) -> Result<Vec<u8>, u32> {
        let mut body = Vec::new();
        loop {
            let frame = self.next().await.expect("the connection was closed within an answer");
            match frame.kind {
                DATA if frame.stream == stream => body.extend(frame.payload),
                RST_STREAM if frame.stream == stream => return Err(frame.word(0)),
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                return Ok(body);
            }
        }
    }

    /// The error with which the server says that it has had enough, if it does before it closes.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next_of(GOAWAY).await {
            code = Some(frame.word(4));
        }
        code
    }

    /// The error with which the server resets a stream, or says that it has had enough.
    pub(crate) async fn objection(&mut self) -> u32 {
        loop {
            let frame = self.next().await.expect("the connection was closed without a word");
            match frame.kind {
                RST_STREAM => return frame.word(0),
                GOAWAY => return frame.word(4),
                HEADERS => panic!("answered with {}", frame.status()),
                _ => {}
            }
        }
    }

    /// Waits until all that was sent before is dealt with.
    pub(crate) async fn ping(&mut self) -> Option<()> {
        self.send(&frame(PING, 0, 0, b"all said")).await;
        loop {
            let frame = self.next_of(PING).await?;
            if frame.flags & ACK != 0 && frame.payload == b"all said" {
                return Some(());
            }
        }
    }

    /// Writes what `frames` makes, many at a time, until it has or the server closes.
    pub(crate) async fn flood(&mut self, times: u32, frames: impl Fn(u32) -> Vec<u8>) -> bool {
        const AT_ONCE: u32 = 64;
        for start in (0..times).step_by(AT_ONCE as usize) {
            let many = start..times.min(start + AT_ONCE);
            if !self.send(&many.flat_map(&frames).collect::<Vec<_>>()).await {
                return false;
            }
        }
        true
    }
}
