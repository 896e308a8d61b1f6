//! An oracle for runs that break things: it keeps a log of what was published and handled, and says
//! in the end which promises were broken.
//!
//! The log only grows: tries and outcomes of publishes, beginnings and ends of handlings, dead
//! letters, and the [`Cause`]s for which messages may come again. [`check`] is a pure function over
//! it, so a log can be kept, looked at and checked again. A log in a [file](Oracle::at) survives
//! the processes that write it.
//!
//! # Examples
//!
//! A run on the memory broker that loses its links half-way:
//!
//! ```
//! use downhaul_consumer::{Consumer, Incoming, MemoryBroker, Message, Outgoing, Subscription};
//! use downhaul_context::Context;
//! use downhaul_testkit::oracle::{Cause, Oracle, Promises};
//! use std::sync::Arc;
//!
//! async fn handle(_ctx: Context, _message: Incoming<Message>) {}
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let oracle = Oracle::new();
//! let (ctx, broker) = (Context::background(), MemoryBroker::new());
//! let publisher = oracle.publisher(Arc::new(broker.clone()));
//! let queue = Subscription::new("stock").topic("order");
//! let consumer = Consumer::new(queue, oracle.observe("stock", handle));
//! consumer.spawn(&ctx, Arc::new(broker.clone())).settled().await;
//!
//! for number in 0..100 {
//!     if number == 50 {
//!         oracle.log(Cause::LinkLost { instance: "stock".into(), unsettled: 16 });
//!         broker.cut();
//!     }
//!     let message = oracle.message(&format!("customer-{}", number % 7), "an order");
//!     let order = Outgoing::to_topic("order", message);
//!     oracle.publish_until_known(&publisher, &ctx, order).await.unwrap();
//! }
//! oracle.until_done(100).await;
//!
//! let report = oracle.check(&Promises::default().in_flight(8));
//! report.assert_clean();
//! assert_eq!(report.summary.confirmed, 100);
//! # }
//! ```

mod check;
mod ending;
mod handling;
mod log;
mod observing;
mod overhearing;
mod promises;
mod record;
mod report;
mod watching;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use downhaul_consumer::{Message, headers};
use tokio::sync::watch;

pub use self::check::check;
pub use self::ending::Ending;
pub use self::handling::Handling;
use self::log::Log;
pub use self::promises::Promises;
pub use self::record::{Answer, Cause, End, Record};
pub use self::report::{Kind, Report, Summary, Violation};
pub use self::watching::LinkWatch;

/// The header that tells its place in the key.
const SEQUENCE: &str = "oracle-sequence";

/// A log that grows, and what makes it grow. Clones share it.
#[derive(Clone, Debug)]
pub struct Oracle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Log,
    handlings: AtomicU64,
    /// The next number of each key.
    sequences: Mutex<HashMap<String, u64>>,
    /// How many messages this process is done with.
    done: watch::Sender<u64>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self::new()
    }
}

impl Oracle {
    /// An oracle whose log is in memory.
    pub fn new() -> Self {
        Self::with(Log::memory())
    }

    /// An oracle whose log is the file at `path`, one record as JSON a line, behind what is there.
    ///
    /// Each record is handed to the system before the call that makes it returns, so it survives
    /// `kill -9` of the process, though not a power cut. Several processes may write to one file:
    /// the order of the lines is the order of events.
    ///
    /// # Errors
    ///
    /// If the file can be neither made nor opened.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        Log::file(path.as_ref()).map(Self::with)
    }

    fn with(log: Log) -> Self {
        Self(Arc::new(Shared {
            log,
            handlings: AtomicU64::new(0),
            sequences: Mutex::default(),
            done: watch::Sender::new(0),
        }))
    }

    /// Logs a record.
    ///
    /// # Panics
    ///
    /// If the file of the log cannot be written: what is checked later would not be the truth.
    pub fn record(&self, record: Record) {
        let written = self.0.log.append(record);
        if let Err(error) = written
            && !std::thread::panicking()
        {
            panic!("the log cannot be written: {error}");
        }
    }

    /// Logs why messages may come again.
    ///
    /// # Panics
    ///
    /// As [`record`](Self::record).
    pub fn log(&self, cause: Cause) {
        self.record(Record::Cause(cause));
    }

    /// Logs a dead letter that was found.
    ///
    /// # Panics
    ///
    /// As [`record`](Self::record).
    pub fn dead(&self, letter: &Message) {
        let header = |name| letter.headers().get(name).map(str::to_owned);
        let (reason, origin) = (header(headers::DEAD_REASON), header(headers::ORIGIN_QUEUE));
        self.record(Record::Dead { id: letter.id().to_owned(), reason, origin });
    }

    /// The next message of a key. Its id is the key and its number: `customer-3/17`. A key belongs
    /// to one process.
    pub fn message(&self, key: &str, payload: impl Into<String>) -> Message {
        let mut sequences = self.0.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let next = sequences.entry(key.to_owned()).or_default();
        let sequence = *next;
        *next += 1;
        Message::new(payload.into())
            .with_id(format!("{key}/{sequence}"))
            .with_key(key)
            .with_header(SEQUENCE, sequence.to_string())
    }

    /// Begins a handling by hand, where [`observe`](Self::observe) does not fit. Dropping what it
    /// returns logs that the handling was [cut](End::Cut), or that it panicked.
    ///
    /// # Panics
    ///
    /// As [`record`](Self::record).
    pub fn begin(&self, instance: &str, id: &str, key: Option<&str>, attempt: u32) -> Handling {
        let number = self.0.handlings.fetch_add(1, Ordering::Relaxed);
        let handling = Handling::new(self.clone(), instance, number, id);
        let (instance, id, key) = (instance.to_owned(), id.to_owned(), key.map(str::to_owned));
        self.record(Record::Began { instance, number, id, key, attempt });
        handling
    }

    /// How many messages this process has acknowledged or dropped so far.
    pub fn done(&self) -> u64 {
        *self.0.done.borrow()
    }

    /// Waits until this process has acknowledged or dropped so many messages in all. Cancel safe.
    pub async fn until_done(&self, count: u64) {
        // The sender is ours, so that the channel never closes.
        let _ = self.0.done.subscribe().wait_for(|done| *done >= count).await;
    }

    /// The log so far.
    ///
    /// # Errors
    ///
    /// If its file cannot be read, or has a line that is no record.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        self.0.log.records()
    }

    /// [Checks](check()) the log.
    ///
    /// # Panics
    ///
    /// If the file of the log cannot be read.
    #[track_caller]
    pub fn check(&self, promises: &Promises) -> Report {
        match self.records() {
            Ok(records) => check(&records, promises),
            Err(error) => panic!("the log cannot be read: {error}"),
        }
    }
}
