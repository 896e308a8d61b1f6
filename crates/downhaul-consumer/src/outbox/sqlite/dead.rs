//! What was given up: looked at, tried again, discarded.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Transaction;

use crate::outbox::sqlite::{SqliteOutbox, stored};
use crate::publish::Outgoing;
use crate::store::StoreError;
use crate::store::sqlite::Millis;

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadRow {
    /// What to name it by.
    pub number: u64,
    /// Its key.
    pub key: Option<String>,
    /// The message; none if it cannot be read.
    pub outgoing: Option<Outgoing>,
    /// How many times it was tried.
    pub attempts: u32,
    /// What was said of it last, on one line.
    pub error: String,
    /// When it was given up.
    pub since: SystemTime,
}

impl SqliteOutbox {
    /// The dead rows, oldest first, up to `limit`.
    ///
    /// # Errors
    ///
    /// Whatever keeps the database from it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn dead(&self, limit: u32) -> Result<Vec<DeadRow>, StoreError> {
        let job = move |tx: &Transaction<'_>, _now: Millis| {
            let sql = "SELECT number, key, envelope, payload, attempts, error, dead_at
                FROM downhaul_outbox WHERE dead_at IS NOT NULL ORDER BY number LIMIT ?1";
            tx.prepare_cached(sql)?.query_map([limit], read)?.collect()
        };
        self.database.read("list dead rows of the outbox", job).await
    }

    /// Lets a dead row be published again, as if it had never been tried. It comes after those of
    /// its key that were published meanwhile. False if there is no such dead row.
    ///
    /// # Errors
    ///
    /// Whatever keeps the database from it.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, it may have happened or not.
    pub async fn retry_dead(&self, number: u64) -> Result<bool, StoreError> {
        Ok(self.revive("number = ?1 AND dead_at IS NOT NULL", number).await? > 0)
    }

    /// Lets all dead rows be published again, and says how many they were.
    ///
    /// # Errors
    ///
    /// Whatever keeps the database from it.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, it may have happened or not.
    pub async fn retry_all_dead(&self) -> Result<usize, StoreError> {
        self.revive("number >= ?1 AND dead_at IS NOT NULL", 0).await
    }

    /// Deletes a dead row, which then was never published. False if there is no such dead row.
    ///
    /// # Errors
    ///
    /// Whatever keeps the database from it.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, it may have happened or not.
    pub async fn discard_dead(&self, number: u64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM downhaul_outbox WHERE number = ?1 AND dead_at IS NOT NULL";
        let discarded = self.change(sql.to_owned(), number).await? > 0;
        // Its key may go on.
        self.notify();
        Ok(discarded)
    }

    async fn revive(&self, which: &str, number: u64) -> Result<usize, StoreError> {
        let sql = format!(
            "UPDATE downhaul_outbox SET dead_at = NULL, free_at = 0, attempts = 0, refusals = 0
            WHERE {which}"
        );
        let revived = self.change(sql, number).await?;
        self.notify();
        Ok(revived)
    }

    async fn change(&self, sql: String, number: u64) -> Result<usize, StoreError> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let job = move |tx: &Transaction<'_>, _now: Millis| tx.execute(&sql, [number]);
        self.database.transact("change dead rows of the outbox", job).await
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeadRow> {
    let (number, since): (i64, Millis) = (row.get(0)?, row.get(6)?);
    let envelope: String = row.get(2)?;
    Ok(DeadRow {
        number: number.unsigned_abs(),
        key: row.get(1)?,
        outgoing: stored::read(&envelope, row.get(3)?).ok(),
        attempts: row.get(4)?,
        error: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
        since: UNIX_EPOCH + Duration::from_millis(since.unsigned_abs()),
    })
}
