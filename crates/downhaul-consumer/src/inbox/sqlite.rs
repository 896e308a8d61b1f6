//! [`SqliteInbox`]: the ids of all processes that share a database file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction};

use crate::inbox::{Claim, Commit, Inbox, Ticket};
use crate::store::StoreError;
use crate::store::sqlite::{Database, Millis, Schema, millis, span};

/// The number of a row is the fence of its claim: a claim that is taken over or comes after a
/// release is a new row, and AUTOINCREMENT gives no number twice.
const SCHEMA: Schema = Schema {
    part: "inbox",
    steps: &["
        CREATE TABLE downhaul_inbox (
            fence INTEGER PRIMARY KEY AUTOINCREMENT,
            scope TEXT NOT NULL,
            id TEXT NOT NULL,
            leased_until INTEGER NOT NULL,
            done_at INTEGER,
            UNIQUE (scope, id)
        ) STRICT;
        CREATE INDEX downhaul_inbox_done ON downhaul_inbox (done_at) WHERE done_at IS NOT NULL;
        CREATE INDEX downhaul_inbox_leases ON downhaul_inbox (leased_until) WHERE done_at IS NULL;
    "],
};

/// After how many new rows old ones are cleaned up, and how many at a time: more than have come.
const CLEANUP: (i64, u32) = (256, 1024);

/// Remembers ids in an SQLite database, which may be the application's own.
///
/// Its table is `downhaul_inbox`. It is made when missing, and the database is set to write-ahead
/// logging. Calls run on tokio's threads for blocking work and wait up to 5 s for the locks of
/// others.
///
/// | what | default | set by |
/// |---|---|---|
/// | how long a processed id is remembered | 7 days | [`max_age`](Self::max_age) |
///
/// Leases are told by the wall clock, since they are read by other processes and after a restart.
/// If it is set forward, claims run out early, and a message may be processed twice; the late owner
/// is still refused. If it is set back, what a dead owner held is held for longer.
///
/// # Two ways
///
/// As an [`Inbox`], with claims before the work and commits after it: a process that dies between
/// its effect and the commit leaves a duplicate of the effect. Or by [`record`](Self::record), in
/// the transaction of the effect: it happens exactly once. Both know the same ids.
#[derive(Clone, Debug)]
pub struct SqliteInbox {
    database: Database,
    age: Duration,
}

impl SqliteInbox {
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
        Ok(Self { database, age: Duration::from_secs(7 * 24 * 60 * 60) })
    }

    /// How long a processed id is remembered. Choose it longer than a duplicate may be under way,
    /// the time that a queue may stand still included.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Takes the time from `clock` instead of the system; for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.database.set_clock(Arc::new(clock));
        self
    }

    /// Marks an id as processed in your own transaction, together with the effect. False means that
    /// it was processed before: write nothing, and acknowledge the message.
    ///
    /// The transaction must be one of the same database file. Begin it as
    /// [`Immediate`](rusqlite::TransactionBehavior::Immediate): one that reads first and writes
    /// later fails when another has written meanwhile. The id is marked when it commits, and not if
    /// it rolls back. `last_insert_rowid` may be that of our table afterwards, or what it was: ask
    /// for that of your own row right after you inserted it.
    ///
    /// It blocks as any use of the transaction does: call it off the runtime's threads.
    ///
    /// # Errors
    ///
    /// As for every statement: give the transaction up and let the message be tried again.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_consumer::inbox::SqliteInbox;
    /// use downhaul_consumer::rusqlite::{self, Connection, TransactionBehavior};
    ///
    /// fn reserve(db: &mut Connection, inbox: &SqliteInbox, id: &str) -> rusqlite::Result<bool> {
    ///     let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    ///     if !inbox.record(&tx, "inventory", id)? {
    ///         return Ok(false); // a duplicate
    ///     }
    ///     tx.execute("UPDATE stock SET left = left - 1", ())?;
    ///     tx.commit()?;
    ///     Ok(true)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.db");
    /// let inbox = SqliteInbox::open(&path).await?;
    /// let mut db = Connection::open(&path)?;
    /// db.execute_batch("CREATE TABLE stock (left INTEGER); INSERT INTO stock VALUES (3)")?;
    ///
    /// assert!(reserve(&mut db, &inbox, "order-7")?);
    /// assert!(!reserve(&mut db, &inbox, "order-7")?);
    /// let left: i64 = db.query_row("SELECT left FROM stock", (), |row| row.get(0))?;
    /// assert_eq!(left, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record(&self, tx: &Transaction<'_>, scope: &str, id: &str) -> rusqlite::Result<bool> {
        // The row of a claim, by whomever, keeps its number, so that its owner's commit holds.
        let sql = "INSERT INTO downhaul_inbox (scope, id, leased_until, done_at)
            VALUES (?1, ?2, 0, ?3)
            ON CONFLICT (scope, id) DO UPDATE SET done_at = ?3
            WHERE done_at IS NULL OR done_at <= ?4
            RETURNING fence";
        let now = self.database.now();
        let horizon = self.horizon(now);
        let marked = tx
            .prepare_cached(sql)?
            .query_row((scope, id, now, horizon), |row| row.get(0))
            .optional()?;
        if let Some(fence) = marked {
            tidy_up(tx, fence, horizon)?;
        }
        Ok(marked.is_some())
    }

    /// Forgets ids that are older than [`max_age`](Self::max_age), and says how many they were.
    ///
    /// Claims and records do so by themselves, a few at a time.
    ///
    /// # Errors
    ///
    /// Whatever keeps the database from it; those forgotten so far stay so.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, some are forgotten.
    pub async fn cleanup(&self) -> Result<usize, StoreError> {
        let mut all = 0;
        loop {
            let inbox = self.clone();
            let job = move |tx: &Transaction<'_>, now: Millis| forget(tx, inbox.horizon(now));
            let some = self.database.transact("clean up the inbox", job).await?;
            all += some;
            if some == 0 {
                return Ok(all);
            }
        }
    }

    /// What was processed up to then is forgotten.
    fn horizon(&self, now: Millis) -> Millis {
        now.saturating_sub(millis(self.age))
    }
}

#[async_trait]
impl Inbox for SqliteInbox {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        let (scope, id, inbox) = (scope.to_owned(), id.to_owned(), self.clone());
        let job = move |tx: &Transaction<'_>, now: Millis| {
            let horizon = inbox.horizon(now);
            if let Some(claim) = known(tx, &scope, &id, now, horizon)? {
                return Ok(claim);
            }
            let sql = "DELETE FROM downhaul_inbox WHERE scope = ?1 AND id = ?2";
            tx.prepare_cached(sql)?.execute((&scope, &id))?;
            let sql = "INSERT INTO downhaul_inbox (scope, id, leased_until) VALUES (?1, ?2, ?3)";
            let until = now.saturating_add(millis(lease));
            let fence = tx.prepare_cached(sql)?.insert((&scope, &id, until))?;
            tidy_up(tx, fence, horizon)?;
            Ok(Claim::Fresh(Ticket::new(scope, id, fence.unsigned_abs())))
        };
        self.database.transact("claim an id", job).await
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        let fence = fence(ticket);
        let job = move |tx: &Transaction<'_>, now: Millis| {
            let sql = "UPDATE downhaul_inbox SET done_at = coalesce(done_at, ?2) WHERE fence = ?1";
            let rows = tx.prepare_cached(sql)?.execute((fence, now))?;
            Ok(if rows > 0 { Commit::Kept } else { Commit::Lost })
        };
        self.database.transact("commit an id", job).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        let fence = fence(ticket);
        let job = move |tx: &Transaction<'_>, _now: Millis| {
            let sql = "DELETE FROM downhaul_inbox WHERE fence = ?1 AND done_at IS NULL";
            tx.prepare_cached(sql)?.execute([fence]).map(drop)
        };
        self.database.transact("release an id", job).await
    }
}

/// What is known of an id that keeps it from being claimed.
fn known(
    tx: &Transaction<'_>,
    scope: &str,
    id: &str,
    now: Millis,
    horizon: Millis,
) -> rusqlite::Result<Option<Claim>> {
    let sql = "SELECT leased_until, done_at FROM downhaul_inbox WHERE scope = ?1 AND id = ?2";
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, Millis>(0)?, row.get::<_, Option<Millis>>(1)?));
    let row = tx.prepare_cached(sql)?.query_row((scope, id), read).optional()?;
    Ok(match row {
        Some((_, Some(done))) => (done > horizon).then_some(Claim::Done),
        Some((until, None)) => (until > now).then(|| Claim::Held { left: span(now, until) }),
        None => None,
    })
}

/// Cleans up at every so many rows, by the number of one that was just marked or made.
fn tidy_up(tx: &Transaction<'_>, row: i64, horizon: Millis) -> rusqlite::Result<()> {
    if row % CLEANUP.0 == 0 {
        forget(tx, horizon)?;
    }
    Ok(())
}

/// Forgets some of what was processed, or ran out, before the horizon.
fn forget(tx: &Transaction<'_>, horizon: Millis) -> rusqlite::Result<usize> {
    let done = "DELETE FROM downhaul_inbox WHERE fence IN (
        SELECT fence FROM downhaul_inbox WHERE done_at <= ?1 LIMIT ?2)";
    let ran_out = "DELETE FROM downhaul_inbox WHERE fence IN (
        SELECT fence FROM downhaul_inbox WHERE done_at IS NULL AND leased_until <= ?1 LIMIT ?2)";
    let forgotten = tx.prepare_cached(done)?.execute((horizon, CLEANUP.1))?;
    let left = CLEANUP.1 - u32::try_from(forgotten).unwrap_or(CLEANUP.1);
    Ok(forgotten + tx.prepare_cached(ran_out)?.execute((horizon, left))?)
}

fn fence(ticket: &Ticket) -> i64 {
    i64::try_from(ticket.fence()).unwrap_or(i64::MAX)
}
