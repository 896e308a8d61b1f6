//! The outbox in SQLite and the relay that publishes what is in it.

mod crash;
mod dead;
mod limits;
mod lines;
mod puppet;
mod relay;
mod seen;
mod store;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use downhaul_consumer::outbox::{Backlog, Outbox, Relay, SqliteOutbox};
use downhaul_consumer::rusqlite::{Connection, TransactionBehavior};
use downhaul_consumer::{Broker, Message, Outgoing, Publisher};
use downhaul_context::{Canceller, Context};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

use crate::database::{File, wall_clock};

const SECOND: Duration = Duration::from_secs(1);

/// How long to wait, on a clock that is paused, for what must come.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// An application's database with an outbox in it.
struct Shop {
    file: File,
    db: Connection,
    outbox: SqliteOutbox,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Shop {
    async fn open() -> Self {
        let (file, clock) = (File::new(), wall_clock());
        let outbox = SqliteOutbox::open(file.path()).await.unwrap().clock(clock.clone());
        Self { db: file.connect(), file, outbox, clock: Arc::new(clock) }
    }

    /// The outbox as another process opens it.
    async fn another_outbox(&self) -> SqliteOutbox {
        let clock = Arc::clone(&self.clock);
        SqliteOutbox::open(self.file.path()).await.unwrap().clock(move || clock())
    }

    /// Writes messages by id and key, all in one transaction. A key of "" is none.
    fn enqueue(&mut self, rows: &[(&str, &str)]) {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        for (id, key) in rows {
            let message = Message::new("").with_id(id).with_header("key", *key);
            let message = if key.is_empty() { message } else { message.with_key(*key) };
            let outgoing = Outgoing::to_topic("t", message);
            self.outbox.enqueue(&Context::background(), &tx, &outgoing).unwrap();
        }
        tx.commit().unwrap();
    }

    /// Writes `count` messages of each key, `<key>0` and so on, in turns.
    fn enqueue_many(&mut self, keys: &[&str], count: usize) {
        let id = |number, key: &&str| (format!("{key}{number}"), (*key).to_owned());
        let rows: Vec<_> =
            (0..count).flat_map(|number| keys.iter().map(move |key| id(number, key))).collect();
        let rows: Vec<_> = rows.iter().map(|(id, key)| (id.as_str(), key.as_str())).collect();
        self.enqueue(&rows);
    }

    fn relay(&self, broker: Arc<dyn Broker>) -> Relay {
        Relay::new(Arc::new(self.outbox.clone()), Publisher::new(broker))
    }

    async fn backlog(&self) -> Backlog {
        self.outbox.backlog().await.unwrap()
    }

    /// Waits until so many are pending, in flight and dead. Time goes on only while everybody else
    /// waits, too.
    async fn until(&self, wanted: (u64, u64, u64)) {
        let (mut ticks, begun) = (interval(SECOND), Instant::now());
        loop {
            let counts = self.counts().await;
            if counts == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "still {counts:?}");
            ticks.tick().await;
        }
    }

    /// Pending, in flight, dead.
    async fn counts(&self) -> (u64, u64, u64) {
        let backlog = self.backlog().await;
        (backlog.pending, backlog.in_flight, backlog.dead)
    }
}

/// A relay at work.
struct Running {
    canceller: Canceller,
    task: JoinHandle<()>,
}

impl Running {
    fn start(relay: Relay) -> Self {
        let (ctx, canceller) = Context::root();
        Self { canceller, task: tokio::spawn(async move { relay.run(&ctx).await }) }
    }

    async fn drain(self) {
        self.canceller.drain(600 * SECOND);
        self.task.await.unwrap();
    }
}

/// Whether what is of one key has its numbers in order, each at its first appearance.
fn assert_in_order(ids: &[String], keys: &[&str]) {
    for key in keys {
        let mut seen = Vec::new();
        for id in ids.iter().filter(|id| id.starts_with(*key)) {
            let number: usize = id[key.len()..].parse().unwrap();
            if !seen.contains(&number) {
                seen.push(number);
            }
        }
        assert!(seen.is_sorted(), "{key}: {seen:?}");
    }
}
