//! [`Outbox`]: messages that are written with the effect and published afterwards.
//!
//! Who changes a database and then publishes what happened may die in between, and nobody hears of
//! the change. Who publishes first may tell of a change that is then rolled back. An outbox is a
//! table beside the others: a message is written in the transaction of the change, and a [`Relay`]
//! publishes what is there and deletes what the broker has confirmed.
//!
//! `SqliteOutbox` (feature `sqlite`) is one in SQLite.

mod count;
mod flight;
mod handle;
mod relay;
mod row;
mod run;
mod shared;
mod snapshot;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;

pub use crate::outbox::handle::RelayHandle;
pub use crate::outbox::relay::Relay;
pub use crate::outbox::row::{Backlog, Fate, Row, RowTicket};
pub use crate::outbox::snapshot::{Outage, RelaySnapshot};
#[cfg(feature = "sqlite")]
pub use crate::outbox::sqlite::{DeadRow, SqliteOutbox};
use crate::store::StoreError;

/// Where messages wait to be published; the side that a [`Relay`] sees.
///
/// How messages get in is each store's own, since it happens in a transaction of its kind.
#[async_trait]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// Claims up to `limit` rows for `lease`, oldest first.
    ///
    /// 1. MUST NOT give a row to two while the lease of the first lasts
    ///    (`two_relays_publish_no_row_twice`).
    /// 2. MUST keep the order of a key: a row is given only together with all earlier ones of its
    ///    key that are still to be published, in their order
    ///    (`rows_of_a_key_are_published_in_order`). So one that is claimed by another or held back
    ///    until its next attempt holds back all later ones of its key.
    /// 3. MUST give a row again once its lease has run out.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from it. What was claimed becomes free when its lease runs out.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, rows may have been claimed; they become free when their lease runs out.
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Row>, StoreError>;

    /// Says what became of claimed rows.
    ///
    /// 1. MUST take [`Fate::Confirmed`] from everybody: it is true whoever holds the row now.
    /// 2. MUST ignore every other fate of a row whose claim is no longer the ticket's.
    /// 3. MAY be called again with the same fates after an error, and MUST change no more then.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from it. None or all of the fates are written.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, all of the fates may have been written or none.
    async fn settle(&self, fates: &[(RowTicket, Fate)]) -> Result<(), StoreError>;

    /// How much there is, at one moment.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from knowing.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// Returns when there may be something new to claim. By default it never does: a relay looks by
    /// itself from time to time.
    ///
    /// # Cancel safety
    ///
    /// MUST be cancel safe: what is told while nobody waits is told to the next who does.
    async fn news(&self) {
        pending().await
    }
}
