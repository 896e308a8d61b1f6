//! Claims rows and settles them.

use rusqlite::Transaction;

use crate::outbox::sqlite::stored;
use crate::outbox::{Fate, Row, RowTicket};
use crate::store::sqlite::{Millis, millis};

/// What is free now, oldest first, but nothing whose key has an earlier row that is not: that one
/// is claimed by another, held back, or dead where the dead stop their key. An earlier row that is
/// free is among the rows before it, so the order of a key holds also at the limit.
const FREE: &str = "SELECT number, claim, key, envelope, payload, attempts, refusals
    FROM downhaul_outbox AS row
    WHERE dead_at IS NULL AND free_at <= ?1 AND NOT EXISTS (
        SELECT 1 FROM downhaul_outbox AS earlier
        WHERE earlier.key = row.key AND earlier.number < row.number
            AND iif(earlier.dead_at IS NULL, earlier.free_at > ?1, ?2))
    ORDER BY number LIMIT ?3";

pub(super) fn claim(
    tx: &Transaction<'_>,
    now: Millis,
    until: Millis,
    limit: usize,
    dead_stop_keys: bool,
) -> rusqlite::Result<Vec<Row>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = tx.prepare_cached(FREE)?;
    let found = select.query_map((now, dead_stop_keys, limit), read)?;
    // All are read before the first is changed: a statement that still runs might meet it again.
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut rows = Vec::with_capacity(found.len());
    for found in found {
        match found {
            Ok(row) => {
                hold(tx, row.ticket, until)?;
                rows.push(row);
            }
            Err((number, error)) => bury(tx, now, number, &error)?,
        }
    }
    Ok(rows)
}

/// A row, or the number of one that cannot be read, and why.
type Found = Result<Row, (i64, String)>;

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    let (number, claim): (i64, i64) = (row.get(0)?, row.get(1)?);
    let envelope: String = row.get(3)?;
    let outgoing = match stored::read(&envelope, row.get(4)?) {
        Ok(outgoing) => outgoing,
        Err(error) => return Ok(Err((number, error.to_string()))),
    };
    let ticket = RowTicket { number: number.unsigned_abs(), claim: (claim + 1).unsigned_abs() };
    Ok(Ok(Row::new(ticket, row.get(2)?, outgoing).tried(row.get(5)?, row.get(6)?)))
}

fn hold(tx: &Transaction<'_>, ticket: RowTicket, until: Millis) -> rusqlite::Result<()> {
    let sql = "UPDATE downhaul_outbox SET held = 1, claim = ?2, free_at = ?3 WHERE number = ?1";
    let (number, claim) = numbers(&ticket);
    tx.prepare_cached(sql)?.execute((number, claim, until)).map(drop)
}

/// Gives up a row that no relay can publish, so that it does not stand in the way for ever.
fn bury(tx: &Transaction<'_>, now: Millis, number: i64, error: &str) -> rusqlite::Result<()> {
    tracing::error!(number, error, "a row of the outbox cannot be read");
    let sql = "UPDATE downhaul_outbox SET dead_at = ?2, error = ?3 WHERE number = ?1";
    tx.prepare_cached(sql)?.execute((number, now, error)).map(drop)
}

pub(super) fn settle(
    tx: &Transaction<'_>,
    now: Millis,
    ticket: &RowTicket,
    fate: &Fate,
) -> rusqlite::Result<()> {
    let (number, claim) = numbers(ticket);
    let sql = match fate {
        // Whoever holds it now: the broker has it.
        Fate::Confirmed => "DELETE FROM downhaul_outbox WHERE number = ?1",
        Fate::Released => {
            "UPDATE downhaul_outbox SET held = 0, free_at = 0
            WHERE number = ?1 AND claim = ?2 AND held"
        }
        Fate::Retry { .. } => {
            "UPDATE downhaul_outbox SET held = 0, free_at = ?3, attempts = attempts + 1,
                refusals = refusals + ?4, error = ?5
            WHERE number = ?1 AND claim = ?2 AND held"
        }
        Fate::Dead { .. } => {
            "UPDATE downhaul_outbox SET held = 0, dead_at = ?3, attempts = attempts + 1,
                refusals = refusals + 1, error = ?4
            WHERE number = ?1 AND claim = ?2 AND held"
        }
    };
    let mut statement = tx.prepare_cached(sql)?;
    match fate {
        Fate::Confirmed => statement.execute([number]),
        Fate::Released => statement.execute((number, claim)),
        Fate::Retry { after, error, refused } => {
            let free_at = now.saturating_add(millis(*after));
            statement.execute((number, claim, free_at, refused, error))
        }
        Fate::Dead { error } => statement.execute((number, claim, now, error)),
    }
    .map(drop)
}

fn numbers(ticket: &RowTicket) -> (i64, i64) {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (signed(ticket.number), signed(ticket.claim))
}
