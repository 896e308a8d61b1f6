//! [`RelayHandle`]: looks at a relay.

use std::future::pending;
use std::sync::Arc;

use crate::outbox::RelaySnapshot;
use crate::outbox::shared::Shared;

/// A relay, seen from outside. Cheap to clone.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use downhaul_consumer::outbox::{Relay, SqliteOutbox};
/// use downhaul_consumer::{MemoryBroker, Publisher};
/// use downhaul_context::Context;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shop.db");
/// let outbox = Arc::new(SqliteOutbox::open(&path).await?);
/// let relay = Relay::new(outbox, Publisher::new(Arc::new(MemoryBroker::new())));
/// let handle = relay.handle();
/// let (service, canceller) = Context::root();
/// let running = tokio::spawn(async move { relay.run(&service).await });
///
/// let seen = handle.wait_for(|seen| seen.backlog.is_some()).await;
/// assert_eq!(seen.backlog.unwrap().unpublished(), 0);
/// assert!(seen.store_fault.is_none() && seen.stall.is_none());
///
/// canceller.drain(Duration::from_secs(10));
/// running.await?;
/// assert_eq!(handle.snapshot().published, 0);
/// # Ok(())
/// # }
/// # }
/// # #[cfg(feature = "sqlite")] example::main().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RelayHandle {
    pub(super) shared: Arc<Shared>,
}

impl RelayHandle {
    /// All of it at one moment. Asks nobody: what is in the outbox was counted before.
    pub fn snapshot(&self) -> RelaySnapshot {
        self.shared.seen.borrow().clone()
    }

    /// Waits until `condition` holds, and returns what is so then. For ever, if it never does.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_for(&self, condition: impl FnMut(&RelaySnapshot) -> bool) -> RelaySnapshot {
        let mut seen = self.shared.seen.subscribe();
        let met = seen.wait_for(condition).await.ok().map(|seen| seen.clone());
        match met {
            Some(seen) => seen,
            // It cannot be: we hold the sender.
            None => pending().await,
        }
    }
}
