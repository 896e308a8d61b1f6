//! [`Database`]: one connection to an SQLite file, used off the runtime's threads.
//!
//! SQLite blocks, so each job runs on a thread for blocking work. The connection is waited for
//! before, without a thread, so that many who wait hold one thread and not many.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::store::{StoreError, StoreErrorKind};

/// How long a job waits for the locks of others.
const BUSY: Duration = Duration::from_secs(5);
/// How often a file is asked to have a write-ahead log, at most: each time others were faster.
const ASK: usize = 100;

/// The versions of the tables live in a table of ours: `user_version` is the application's.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS downhaul_schema (
    part TEXT PRIMARY KEY, version INTEGER NOT NULL
) STRICT, WITHOUT ROWID";

/// The tables of one part.
pub(crate) struct Schema {
    pub(crate) part: &'static str,
    /// `steps[n]` leads from version n to version n + 1. Only ever appended to.
    pub(crate) steps: &'static [&'static str],
}

#[derive(Clone)]
pub(crate) struct Database {
    connection: Arc<Mutex<Connection>>,
    clock: Clock,
    path: Arc<Path>,
}

impl Database {
    /// Opens or makes the file and brings its tables up to date.
    pub(crate) async fn open(path: &Path, schema: &'static Schema) -> Result<Self, StoreError> {
        let path: Arc<Path> = Arc::from(path);
        let file = path.to_path_buf();
        let opened = spawn_blocking(move || {
            let mut connection = connect(&file)?;
            migrate(&mut connection, schema)?;
            Ok(connection)
        });
        let connection = opened.await.map_err(|error| lost("open a database", error))??;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), clock: Clock::default(), path })
    }

    pub(crate) fn set_clock(&mut self, clock: Arc<ClockFn>) {
        self.clock = Clock(clock);
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Runs `job` in a transaction that only reads, as of one moment.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&Transaction<'_>, Millis) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(TransactionBehavior::Deferred, what, job).await
    }

    /// Runs `job` in a transaction that may write, with the time at which it got hold of the
    /// database.
    ///
    /// Once the job has begun it runs to its end, also when this future is dropped.
    pub(crate) async fn transact<T: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&Transaction<'_>, Millis) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        // Immediate: one that becomes a writer later would fail instead of waiting.
        self.run(TransactionBehavior::Immediate, what, job).await
    }

    async fn run<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        what: &'static str,
        job: impl FnOnce(&Transaction<'_>, Millis) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let clock = self.clock.clone();
        let done = spawn_blocking(move || {
            let transaction = connection.transaction_with_behavior(behavior)?;
            let value = job(&transaction, clock.now())?;
            transaction.commit()?;
            Ok(value)
        });
        done.await.map_err(|error| lost(what, error))?.map_err(|error| failed(what, error))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

fn connect(path: &PathBuf) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        write_ahead(&connection)?;
        // A power failure may take back our last transactions. Then a claim, a commit or a mark is
        // missing and a message comes once more, as after any crash.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    };
    open().map_err(|error| failed(format!("open the database {}", path.display()), error))
}

/// Lets readers and the writer not hold each other up.
///
/// Of several processes that make a file at once, SQLite refuses this to all but one, without
/// waiting as it does otherwise. So whoever is refused waits for a turn to write, and tries again.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let ask = || connection.pragma_update(None, "journal_mode", "WAL");
    for _ in 1..ASK {
        match ask() {
            Err(error) if is_busy(&error) => connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?,
            done => return done,
        }
    }
    ask()
}

fn migrate(connection: &mut Connection, schema: &Schema) -> Result<(), StoreError> {
    let part = schema.part;
    let known = u32::try_from(schema.steps.len()).unwrap_or(u32::MAX);
    let mut migrate = || {
        let behavior = TransactionBehavior::Immediate;
        let transaction = connection.transaction_with_behavior(behavior)?;
        transaction.execute(VERSIONS, ())?;
        let read = "SELECT version FROM downhaul_schema WHERE part = ?1";
        let version = transaction.query_row(read, [part], |row| row.get(0)).optional()?;
        let version: u32 = version.unwrap_or(0);
        let done = usize::try_from(version).unwrap_or(usize::MAX);
        let Some(steps) = schema.steps.get(done..) else { return Ok(Some(version)) };
        if !steps.is_empty() {
            steps.iter().try_for_each(|step| transaction.execute_batch(step))?;
            let write = "INSERT OR REPLACE INTO downhaul_schema (part, version) VALUES (?1, ?2)";
            transaction.execute(write, (part, known))?;
        }
        transaction.commit()?;
        Ok(None)
    };
    match migrate().map_err(|error| failed(format!("make the tables of the {part}"), error))? {
        None => Ok(()),
        Some(newer) => {
            let words = format!(
                "the tables of the {part} have version {newer}, and this program knows {known}: \
                 use a newer one"
            );
            Err(StoreError::new(StoreErrorKind::Configuration, words))
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn failed(what: impl Into<String>, error: rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        _ if is_busy(&error) => StoreErrorKind::Busy,
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::Unknown, // "no such table" and other mistakes of ours or in the file
        ) => StoreErrorKind::Configuration,
        _ => StoreErrorKind::Failed,
    };
    let told = StoreError::new(kind, what);
    match error {
        // Its words are often no more than those of its code, which would stand there twice.
        rusqlite::Error::SqliteFailure(code, Some(words)) if code.to_string().ends_with(&words) => {
            told.with_source(code)
        }
        error => told.with_source(error),
    }
}

/// The job panicked, or the runtime ended before it began.
fn lost(what: &str, error: tokio::task::JoinError) -> StoreError {
    let kind = if error.is_panic() { StoreErrorKind::Failed } else { StoreErrorKind::Closed };
    StoreError::new(kind, what).with_source(error)
}

/// Milliseconds since 1970, as the tables store them.
pub(crate) type Millis = i64;

/// A span in whole milliseconds.
pub(crate) fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}

/// From one moment to a later one; zero if it is not later.
pub(crate) fn span(from: Millis, to: Millis) -> Duration {
    Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

pub(crate) type ClockFn = dyn Fn() -> SystemTime + Send + Sync;

/// The wall clock: what is stored is read by other processes and after a restart, where an instant
/// of this process means nothing.
#[derive(Clone)]
struct Clock(Arc<ClockFn>);

impl Clock {
    fn now(&self) -> Millis {
        (self.0)().duration_since(UNIX_EPOCH).map_or(0, millis)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(SystemTime::now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn what_sqlite_says_is_told_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Connection::open(directory.path().join("test.db")).unwrap();
        let (mut holder, mut late) = (open(), open());
        let _held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        late.busy_timeout(Duration::ZERO).unwrap();
        let locked = late.transaction_with_behavior(TransactionBehavior::Immediate).unwrap_err();
        let locked = failed("claim", locked);
        assert_eq!(locked.kind(), StoreErrorKind::Busy);
        assert_eq!(locked.chain(), "claim: Error code 5: database is locked");
        let missing = failed("count", late.execute("SELECT 1 FROM absent", ()).unwrap_err());
        assert!(missing.chain().starts_with("count: no such table: absent"), "{}", missing.chain());
    }

    #[test]
    fn a_file_that_several_make_at_once_is_open_to_all_of_them() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = directory.path().join(format!("{round}.db"));
            let together = Barrier::new(8);
            let open = || {
                together.wait();
                connect(&path).map(drop)
            };
            thread::scope(|scope| {
                let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                for opened in opening {
                    opened.join().unwrap().unwrap();
                }
            });
        }
    }
}
