//! Counts what is there.

use rusqlite::Transaction;

use crate::outbox::Backlog;
use crate::store::sqlite::{Millis, span};

/// Each from an index that has no payload in it: a relay counts every few seconds, and a backlog
/// may be long.
const COUNTS: &str = "SELECT
    (SELECT count(*) FROM downhaul_outbox WHERE dead_at IS NULL),
    (SELECT count(*) FROM downhaul_outbox WHERE held AND dead_at IS NULL AND free_at > ?1),
    (SELECT count(*) FROM downhaul_outbox WHERE dead_at IS NOT NULL),
    (SELECT min(enqueued_at) FROM downhaul_outbox WHERE dead_at IS NULL)";

pub(super) fn count(tx: &Transaction<'_>, now: Millis) -> rusqlite::Result<Backlog> {
    tx.prepare_cached(COUNTS)?.query_row([now], |row| {
        let (alive, in_flight, dead): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let oldest: Option<Millis> = row.get(3)?;
        let [pending, in_flight, dead] =
            [alive - in_flight, in_flight, dead].map(i64::unsigned_abs);
        Ok(Backlog::new(pending, in_flight, dead, oldest.map(|since| span(since, now))))
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::outbox::Outbox;
    use crate::outbox::sqlite::{SCHEMA, SqliteOutbox};
    use crate::store::sqlite::{Database, Schema};

    /// The tables as they were before there was anything to count by.
    const BEFORE: Schema = Schema { part: "outbox", steps: SCHEMA.steps.split_at(2).0 };

    /// One that waits, one that is held, one whose lease is over, two that are dead.
    const ROWS: &str = "INSERT INTO downhaul_outbox
        (key, envelope, payload, enqueued_at, held, free_at, dead_at) VALUES
        (NULL, '', x'', 1, 0, 0, 1), (NULL, '', x'', 3, 0, 0, NULL), (NULL, '', x'', 2, 1, 9, NULL),
        (NULL, '', x'', 4, 1, 5, NULL), (NULL, '', x'', 5, 1, 9, 1)";

    fn assert_by_indexes(db: &Connection) {
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {COUNTS}")).unwrap();
        let lines = explain.raw_query().mapped(|row| row.get::<_, String>(3));
        let plan: Vec<_> = lines.collect::<Result<_, _>>().unwrap();
        let looks: Vec<_> = plan.iter().filter(|line| line.contains("downhaul_outbox")).collect();
        assert_eq!(looks.len(), 4, "{plan:#?}");
        assert!(looks.iter().all(|line| line.contains(" USING COVERING INDEX ")), "{plan:#?}");
    }

    #[tokio::test]
    async fn what_is_there_is_counted_without_a_look_at_the_rows_also_where_it_was_there_before() {
        let directory = tempfile::tempdir().unwrap();
        for is_old in [false, true] {
            let path = directory.path().join(format!("{is_old}.db"));
            let schema = if is_old { &BEFORE } else { &SCHEMA };
            drop(Database::open(&path, schema).await.unwrap());
            Connection::open(&path).unwrap().execute(ROWS, ()).unwrap();
            let outbox = SqliteOutbox::open(&path).await.unwrap();
            assert_eq!(outbox.backlog().await.unwrap().unpublished(), 3);
            let mut db = Connection::open(&path).unwrap();
            assert_by_indexes(&db);
            let counted = count(&db.transaction().unwrap(), 5).unwrap();
            assert_eq!(counted, Backlog::new(2, 1, 2, Some(span(2, 5))));
        }
    }
}
