//! Claims rows and settles them.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};

use crate::outbox::sqlite::stored;
use crate::outbox::{Fate, Row, RowTicket};
use crate::store::sqlite::{Millis, millis};

/// The heads that are free now, oldest first, without those whose key has a dead row before them
/// where the dead stop their key. Only heads are looked at, however many rows wait behind them.
const HEADS: &str = "SELECT number, claim, key, envelope, payload, attempts, refusals
    FROM downhaul_outbox AS row
    WHERE head AND free_at <= ?1 AND NOT (?2 AND EXISTS (
        SELECT 1 FROM downhaul_outbox AS dead
        WHERE dead.key = row.key AND dead.number < row.number))
    ORDER BY number LIMIT ?3";

/// The next of a key, if it may follow. It may not if it is claimed by another, held back, or dead
/// where the dead stop their key.
const NEXT: &str = "SELECT number, claim, key, envelope, payload, attempts, refusals FROM (
        SELECT * FROM downhaul_outbox
        WHERE key = ?3 AND number > ?4 AND (dead_at IS NULL OR ?2) ORDER BY number LIMIT 1)
    WHERE dead_at IS NULL AND free_at <= ?1";

pub(super) fn claim(
    tx: &Transaction<'_>,
    now: Millis,
    until: Millis,
    limit: usize,
    dead_stop_keys: bool,
) -> rusqlite::Result<Vec<Row>> {
    let found = find(tx, now, limit, dead_stop_keys)?;
    let mut rows = Vec::with_capacity(found.len());
    for (number, Found { row, .. }) in found {
        match row {
            Ok(row) => {
                hold(tx, row.ticket, until)?;
                rows.push(row);
            }
            Err(error) => bury(tx, now, number, &error)?,
        }
    }
    Ok(rows)
}

struct Found {
    key: Option<String>,
    /// Or why it cannot be read.
    row: Result<Row, String>,
}

/// What is free now, oldest first, by number. Those of a key come with all before them, and so the
/// oldest of all are among as many heads and those that follow them.
fn find(
    tx: &Transaction<'_>,
    now: Millis,
    limit: usize,
    dead_stop_keys: bool,
) -> rusqlite::Result<Vec<(i64, Found)>> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let (mut heads, mut next) = (tx.prepare_cached(HEADS)?, tx.prepare_cached(NEXT)?);
    let heads = heads.query_map((now, dead_stop_keys, most), read)?;
    let mut free = heads.collect::<rusqlite::Result<BTreeMap<_, _>>>()?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some((number, oldest)) = free.pop_first()
    {
        if let Some(key) = &oldest.key {
            let next = next.query_row((now, dead_stop_keys, key, number), read).optional()?;
            free.extend(next);
        }
        found.push((number, oldest));
    }
    Ok(found)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Found)> {
    let (number, claim, key): (i64, i64, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (attempts, refusals) = (row.get(5)?, row.get(6)?);
    let ticket = RowTicket { number: number.unsigned_abs(), claim: (claim + 1).unsigned_abs() };
    let envelope: String = row.get(3)?;
    let outgoing = stored::read(&envelope, row.get(4)?);
    let row = outgoing.map(|outgoing| Row::new(ticket, key.clone(), outgoing));
    let row = row.map(|row| row.tried(attempts, refusals)).map_err(|error| error.to_string());
    Ok((number, Found { key, row }))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::{Connection, StatementStatus};

    use super::*;
    use crate::outbox::sqlite::SCHEMA;

    /// With so many rows of a key, the first of which is claimed by another, and one of another.
    fn backlog(rows: u32) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        SCHEMA.steps.iter().for_each(|step| db.execute_batch(step).unwrap());
        let sql = "WITH RECURSIVE numbers (n) AS (
                SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
            INSERT INTO downhaul_outbox (key, envelope, payload, enqueued_at)
            SELECT iif(n < ?1, 'held', 'free'), 'unreadable', x'', 0 FROM numbers";
        db.execute(sql, [rows]).unwrap();
        db.execute("UPDATE downhaul_outbox SET held = 1, free_at = 9 WHERE number = 1", ())
            .unwrap();
        db
    }

    /// How many steps SQLite takes to find what is free.
    fn steps_to_find(rows: u32) -> i32 {
        let mut db = backlog(rows);
        let tx = db.transaction().unwrap();
        let found = find(&tx, 5, 100, false).unwrap();
        assert_eq!(found.iter().map(|found| found.0).collect::<Vec<_>>(), [i64::from(rows)]);
        let steps = |sql| tx.prepare_cached(sql).unwrap().get_status(StatementStatus::VmStep);
        steps(HEADS) + steps(NEXT)
    }

    #[test]
    fn a_claim_does_not_look_at_what_waits_behind_a_row_that_is_held() {
        let few = steps_to_find(10);
        assert!(few > 0);
        assert_eq!(steps_to_find(10_000), few);
    }

    #[test]
    fn a_claim_finds_all_by_indexes() {
        let db = backlog(10);
        let plan = |sql: &str| {
            let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let lines = explain.raw_query().mapped(|row| row.get::<_, String>(3));
            lines.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
        };
        let (heads, next) = (plan(HEADS), plan(NEXT));
        assert!(heads.contains("SCAN row USING INDEX downhaul_outbox_heads"), "{heads}");
        assert!(next.contains("USING INDEX downhaul_outbox_keys (key=? AND number>?)"), "{next}");
        assert!(!(heads + &next).contains("TEMP B-TREE"));
    }

    /// What is to be found, from the rows alone.
    const MODEL: &str = "SELECT number FROM downhaul_outbox AS row
        WHERE dead_at IS NULL AND free_at <= ?1 AND NOT EXISTS (
            SELECT 1 FROM downhaul_outbox AS earlier
            WHERE earlier.key = row.key AND earlier.number < row.number
                AND iif(earlier.dead_at IS NULL, earlier.free_at > ?1, ?2))
        ORDER BY number LIMIT ?3";

    /// What may happen to rows; ?1 is the number of one.
    const CHANGES: [&str; 8] = [
        "INSERT INTO downhaul_outbox (key, envelope, payload, enqueued_at)
            SELECT nullif(?1 % 3, 0), 'unreadable', x'', 0",
        "INSERT INTO downhaul_outbox (key, envelope, payload, enqueued_at)
            SELECT ?1 % 2, 'unreadable', x'', 0",
        "UPDATE downhaul_outbox SET free_at = 9 WHERE number = ?1",
        "UPDATE downhaul_outbox SET free_at = 0 WHERE number = ?1",
        "UPDATE downhaul_outbox SET dead_at = 1 WHERE number = ?1",
        "UPDATE downhaul_outbox SET dead_at = NULL WHERE number = ?1",
        "UPDATE downhaul_outbox SET dead_at = NULL WHERE dead_at NOT NULL AND ?1",
        "DELETE FROM downhaul_outbox WHERE number = ?1",
    ];

    fn change(db: &Connection, changes: &[(usize, i64)]) {
        for (change, row) in changes {
            db.execute(CHANGES[*change], [row]).unwrap();
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(usize, i64)>> {
        prop::collection::vec((0..CHANGES.len(), 1..15_i64), 0..40)
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_may_be_claimed(before in changes(), after in changes()) {
            let mut db = Connection::open_in_memory().unwrap();
            let [first, later @ ..] = SCHEMA.steps else { panic!("no version") };
            db.execute_batch(first).unwrap();
            change(&db, &before);
            later.iter().for_each(|step| db.execute_batch(step).unwrap());
            change(&db, &after);
            let tx = db.transaction().unwrap();
            for (dead_stop_keys, limit) in [(false, 99_u8), (true, 99), (false, 3), (true, 3)] {
                let mut model = tx.prepare_cached(MODEL).unwrap();
                let wanted = model.query_map((5, dead_stop_keys, limit), |row| row.get(0)).unwrap();
                let wanted: Vec<i64> = wanted.map(Result::unwrap).collect();
                let found = find(&tx, 5, usize::from(limit), dead_stop_keys).unwrap();
                let found: Vec<i64> = found.into_iter().map(|found| found.0).collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
