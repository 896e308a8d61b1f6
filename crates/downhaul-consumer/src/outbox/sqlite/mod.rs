//! [`SqliteOutbox`]: an outbox beside the tables of the application.

mod backlog;
mod claim;
mod dead;
mod stored;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use downhaul_context::Context;
use rusqlite::Transaction;
use tokio::sync::Notify;

use crate::outbox::{Backlog, Fate, Outbox, Row, RowTicket};
use crate::publish::Outgoing;
use crate::publisher::inject;
use crate::store::StoreError;
use crate::store::sqlite::{Database, Millis, Schema, millis};

pub use crate::outbox::sqlite::dead::DeadRow;

/// A row is *free* at `free_at`: when its lease ends, if it is `held`, or when it may be tried
/// again. A row that was given up has a `dead_at`. One that was confirmed is deleted, and
/// AUTOINCREMENT gives its number to no other.
///
/// The *head* of a key is the first of its rows that is not dead; a row without a key is one unless
/// it is dead. The triggers keep that true whoever changes the table.
///
/// The indexes to count by name their condition among their columns, too, or SQLite reads each row
/// to look at it again.
const SCHEMA: Schema = Schema {
    part: "outbox",
    steps: &[
        "
        CREATE TABLE downhaul_outbox (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            key TEXT,
            envelope TEXT NOT NULL,
            payload BLOB NOT NULL,
            enqueued_at INTEGER NOT NULL,
            free_at INTEGER NOT NULL DEFAULT 0,
            held INTEGER NOT NULL DEFAULT 0,
            claim INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            refusals INTEGER NOT NULL DEFAULT 0,
            dead_at INTEGER,
            error TEXT
        ) STRICT;
        CREATE INDEX downhaul_outbox_keys ON downhaul_outbox (key, number)
            WHERE key IS NOT NULL;
        CREATE INDEX downhaul_outbox_dead ON downhaul_outbox (number)
            WHERE dead_at IS NOT NULL;
    ",
        "
        ALTER TABLE downhaul_outbox ADD COLUMN head INTEGER NOT NULL DEFAULT 1;
        UPDATE downhaul_outbox SET head = dead_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM downhaul_outbox AS earlier
            WHERE earlier.key = downhaul_outbox.key AND earlier.number < downhaul_outbox.number
                AND earlier.dead_at IS NULL);
        CREATE INDEX downhaul_outbox_heads ON downhaul_outbox (number) WHERE head;
        CREATE TRIGGER downhaul_outbox_came AFTER INSERT ON downhaul_outbox
        WHEN EXISTS (
            SELECT 1 FROM downhaul_outbox AS earlier
            WHERE earlier.key = new.key AND earlier.number < new.number
                AND earlier.dead_at IS NULL)
        BEGIN
            UPDATE downhaul_outbox SET head = 0 WHERE number = new.number;
        END;
        CREATE TRIGGER downhaul_outbox_went AFTER DELETE ON downhaul_outbox WHEN old.head
        BEGIN
            UPDATE downhaul_outbox SET head = 1 WHERE number = (
                SELECT min(number) FROM downhaul_outbox
                WHERE key = old.key AND dead_at IS NULL);
        END;
        CREATE TRIGGER downhaul_outbox_died AFTER UPDATE OF dead_at ON downhaul_outbox
        BEGIN
            UPDATE downhaul_outbox SET head = dead_at IS NULL AND NOT EXISTS (
                SELECT 1 FROM downhaul_outbox AS earlier
                WHERE earlier.key = downhaul_outbox.key
                    AND earlier.number < downhaul_outbox.number AND earlier.dead_at IS NULL)
            WHERE number IN (new.number, (
                SELECT min(number) FROM downhaul_outbox
                WHERE key = new.key AND number <> new.number AND dead_at IS NULL));
        END;
    ",
        "
        CREATE INDEX downhaul_outbox_alive ON downhaul_outbox (enqueued_at, dead_at)
            WHERE dead_at IS NULL;
        CREATE INDEX downhaul_outbox_held ON downhaul_outbox (free_at, held, dead_at)
            WHERE held AND dead_at IS NULL;
        DROP INDEX downhaul_outbox_dead;
        CREATE INDEX downhaul_outbox_dead ON downhaul_outbox (number, dead_at)
            WHERE dead_at IS NOT NULL;
    ",
    ],
};

/// An outbox in an SQLite database, which must be the application's own: a message is written in
/// the transaction of the change that it tells of.
///
/// Its table is `downhaul_outbox`. It is made when missing, and the database is set to write-ahead
/// logging. Calls run on tokio's threads for blocking work and wait up to 5 s for the locks of
/// others. A row is deleted when the broker has confirmed it. Clones share one connection.
///
/// Leases and delays are told by the wall clock, since they are read by other processes and after a
/// restart. If it is set forward while a relay has rows in hand, another may publish them as well.
///
/// See [`Relay`](crate::outbox::Relay) for a whole program.
#[derive(Clone, Debug)]
pub struct SqliteOutbox {
    database: Database,
    news: Arc<Notify>,
    dead_stop_keys: bool,
}

impl SqliteOutbox {
    /// Opens the database file, and makes it and its table if they are missing.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or is no database, or if its table was made by a newer version.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the file and its table may be there or not.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let database = Database::open(path.as_ref(), &SCHEMA).await?;
        Ok(Self { database, news: Arc::default(), dead_stop_keys: false })
    }

    /// Whether a dead row stops the later ones of its key, until it is tried again with success or
    /// discarded. Default false: a row is dead because the broker will not have it, and one message
    /// that is too large shall not silence an account for ever. Set it where a message means
    /// nothing without those before it. All processes that share the file should say the same.
    #[must_use]
    pub fn dead_rows_stop_their_key(mut self, stop: bool) -> Self {
        self.dead_stop_keys = stop;
        self
    }

    /// Takes the time from `clock` instead of the system; for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.database.set_clock(Arc::new(clock));
        self
    }

    /// Writes a message in your own transaction. It is published if the transaction commits.
    ///
    /// Messages of the same [key](crate::Message::with_key) are published in the order in which
    /// they were written. The request id and the trace of `ctx` travel with the message, unless its
    /// headers have their own. Its
    /// delay is counted from when it is published.
    ///
    /// The transaction must be one of the same database file. `last_insert_rowid` is then that of
    /// our table. It blocks as any use of the transaction does: call it off the runtime's threads.
    /// After the commit, [`notify`](Self::notify) saves a relay in this process from waiting for
    /// its next look.
    ///
    /// # Errors
    ///
    /// As for every statement: give the transaction up.
    pub fn enqueue(
        &self,
        ctx: &Context,
        tx: &Transaction<'_>,
        outgoing: &Outgoing,
    ) -> rusqlite::Result<()> {
        let mut outgoing = outgoing.clone();
        inject(ctx, &mut outgoing.message);
        let sql = "INSERT INTO downhaul_outbox (key, envelope, payload, enqueued_at)
            VALUES (?1, ?2, ?3, ?4)";
        let (envelope, payload) = stored::write(&outgoing)?;
        let key = stored::order_key(&outgoing.message);
        tx.prepare_cached(sql)?.execute((key, envelope, payload, self.database.now())).map(drop)
    }

    /// Tells a relay in this process that there is something new. Call it after the commit.
    pub fn notify(&self) {
        self.news.notify_one();
    }
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Row>, StoreError> {
        let dead_stop_keys = self.dead_stop_keys;
        let job = move |tx: &Transaction<'_>, now: Millis| {
            let until = now.saturating_add(millis(lease));
            claim::claim(tx, now, until, limit, dead_stop_keys)
        };
        self.database.transact("claim rows of the outbox", job).await
    }

    async fn settle(&self, fates: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        let fates = fates.to_vec();
        let job = move |tx: &Transaction<'_>, now: Millis| {
            fates.iter().try_for_each(|(ticket, fate)| claim::settle(tx, now, ticket, fate))
        };
        self.database.transact("settle rows of the outbox", job).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.database.read("count the rows of the outbox", backlog::count).await
    }

    async fn news(&self) {
        self.news.notified().await;
    }
}
