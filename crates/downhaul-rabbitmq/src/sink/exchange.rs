//! [`Exchange`]: where topics are routed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use downhaul_consumer::BrokerError;
use lapin::types::ShortString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::unreachable;
use crate::link::Line;
use crate::passive;

/// How long one that was missed is not looked for again: each look costs a channel.
const MISSED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Exchange {
    name: ShortString,
    is_found: AtomicBool,
    /// When it was last missed. Held while it is looked for, so that all who need it share that.
    missed: Mutex<Option<Instant>>,
}

impl Exchange {
    /// One that others declare if `is_theirs`; the one without a name is always there.
    pub(super) fn new(name: ShortString, is_theirs: bool) -> Self {
        let is_found = AtomicBool::new(!is_theirs || name.as_str().is_empty());
        Self { name, is_found, missed: Mutex::default() }
    }

    /// Its name, if it is known to be there.
    pub(super) fn found(&self) -> Option<ShortString> {
        self.is_found.load(Ordering::Relaxed).then(|| self.name.clone())
    }

    /// Looks for it.
    ///
    /// # Errors
    ///
    /// It is not there, or nobody tells.
    pub(super) async fn find(&self, line: &Line) -> Result<(), BrokerError> {
        let mut missed = self.missed.lock().await;
        if self.is_found.load(Ordering::Relaxed) {
            return Ok(());
        }
        if missed.is_some_and(|at| at.elapsed() < MISSED) {
            return Err(self.missing());
        }
        if !passive::has_exchange(line, self.name.as_str()).await? {
            *missed = Some(Instant::now());
            return Err(self.missing());
        }
        self.is_found.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn missing(&self) -> BrokerError {
        let name = &self.name;
        unreachable(format!("there is no exchange `{name}`, which others are to declare"))
    }
}
