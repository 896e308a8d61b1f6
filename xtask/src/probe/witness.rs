//! [`Witness`]: a client that asks again and again while others attack, and must be answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::failure::Failure;

/// How long an answer may take at most, on a machine that is under attack.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long it waits before it asks again.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Witness {
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u32>>,
}

impl Witness {
    pub(super) fn of(address: &str) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (address, until) = (address.to_owned(), Arc::clone(&over));
        Self { over, thread: std::thread::spawn(move || ask(&address, &until)) }
    }

    /// How many answers it got, if it got one each time.
    pub(super) fn answers(self) -> Result<String, Failure> {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(Ok(answers)) => Ok(format!("another client got all of {answers} answers")),
            Ok(Err(error)) => Err(Failure::new(format!("another client got no answer: {error}"))),
            Err(_) => Err(Failure::new("another client panicked")),
        }
    }
}

/// Asks until it is over; on a fresh connection each time, which has to be accepted, too.
fn ask(address: &str, over: &AtomicBool) -> io::Result<u32> {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) || answers == 0 {
        let status = get(address)?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("answer {answers} was `{}`", status.trim())));
        }
        answers += 1;
        std::thread::park_timeout(PAUSE);
    }
    Ok(answers)
}

/// The first line of the answer, once all of it has come.
fn get(address: &str) -> io::Result<String> {
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    write!(tcp, "GET /stats HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let (mut answer, mut status) = (BufReader::new(tcp), String::new());
    answer.read_line(&mut status)?;
    answer.read_to_end(&mut Vec::new())?;
    Ok(status)
}
