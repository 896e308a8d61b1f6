//! A database file that is gone when its test is, and a wall clock that tests can pause.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use downhaul_consumer::rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) struct File(TempDir);

impl File {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("test.db")
    }

    /// The application's own connection.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

/// Goes with tokio's clock, which stands still while something blocks.
pub(crate) fn wall_clock() -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static {
    let begun = Instant::now();
    move || UNIX_EPOCH + Duration::from_secs(1_700_000_000) + begun.elapsed()
}
