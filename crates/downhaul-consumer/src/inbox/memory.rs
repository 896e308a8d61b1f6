//! [`MemoryInbox`]: the ids of one process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::inbox::{Claim, Commit, Inbox, Ticket};
use crate::later::later;
use crate::store::StoreError;

/// Remembers ids in memory, for one process and as long as it lives.
///
/// It is bounded, and what is beyond its bounds is forgotten, the oldest first: a duplicate of it
/// is processed again. A claim whose lease lasts is never forgotten and not counted. Time is that
/// of tokio's clock, which tests can pause.
///
/// | what | default | set by |
/// |---|---|---|
/// | ids that were processed | 100,000 | [`max_ids`](Self::max_ids) |
/// | age of one, since its commit | 24 h | [`max_age`](Self::max_age) |
///
/// Claims that ran out and were not taken over have the same bounds.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::inbox::{Claim, Inbox, MemoryInbox};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = MemoryInbox::new().max_ids(1);
/// for id in ["one", "two"] {
///     if let Claim::Fresh(ticket) = inbox.claim("audit", id, Duration::from_secs(1)).await? {
///         let _ = inbox.commit(&ticket).await?;
///     }
/// }
/// assert_eq!(inbox.claim("audit", "two", Duration::from_secs(1)).await?, Claim::Done);
/// // The first had to go, so a duplicate of it would be processed.
/// let forgotten = inbox.claim("audit", "one", Duration::from_secs(1)).await?;
/// assert!(matches!(forgotten, Claim::Fresh(_)));
/// # Ok(())
/// # }
/// ```
pub struct MemoryInbox {
    ids: usize,
    age: Duration,
    known: Mutex<Known>,
}

/// Scope and id.
type Key = (Arc<str>, Arc<str>);

/// One lock over everything, held only for moves between collections.
#[derive(Default)]
struct Known {
    ids: HashMap<Key, Entry>,
    /// When each claim runs out, with its fence since two may run out together.
    leases: BTreeMap<(Instant, u64), Key>,
    /// Those that had run out at the last look, and were not taken over.
    lapsed: BTreeMap<(Instant, u64), Key>,
    /// When each was committed, the oldest first.
    done: VecDeque<(Instant, Key)>,
    claims: u64,
}

struct Entry {
    fence: u64,
    /// None once it is done.
    leased_until: Option<Instant>,
}

impl MemoryInbox {
    /// An empty inbox with the default bounds.
    pub fn new() -> Self {
        let age = Duration::from_secs(24 * 60 * 60);
        Self { ids: 100_000, age, known: Mutex::default() }
    }

    /// How many processed ids it remembers. Choose it well above how many messages pass while a
    /// duplicate may still come.
    #[must_use]
    pub fn max_ids(mut self, ids: usize) -> Self {
        self.ids = ids;
        self
    }

    /// How long a processed id is remembered.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn claim(&mut self, key: Key, now: Instant, lease: Duration) -> Claim {
        match self.ids.get(&key).map(|entry| entry.leased_until) {
            Some(None) => return Claim::Done,
            Some(Some(until)) if until > now => return Claim::Held { left: until - now },
            Some(Some(_)) => self.forget(&key),
            None => {}
        }
        self.claims += 1;
        let (fence, until) = (self.claims, later(now, lease));
        let ticket = Ticket::new(&*key.0, &*key.1, fence);
        self.leases.insert((until, fence), key.clone());
        self.ids.insert(key, Entry { fence, leased_until: Some(until) });
        Claim::Fresh(ticket)
    }

    fn commit(&mut self, ticket: &Ticket, now: Instant) -> Commit {
        let key = key(ticket.scope(), ticket.id());
        let Some(entry) = self.ids.get_mut(&key).filter(|entry| entry.fence == ticket.fence())
        else {
            return Commit::Lost;
        };
        if let Some(until) = entry.leased_until.take() {
            self.end_claim(until, ticket.fence());
            self.done.push_back((now, key));
        }
        Commit::Kept
    }

    fn release(&mut self, ticket: &Ticket) {
        let key = key(ticket.scope(), ticket.id());
        let is_its_claim =
            |entry: &Entry| entry.fence == ticket.fence() && entry.leased_until.is_some();
        if self.ids.get(&key).is_some_and(is_its_claim) {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some(entry) = self.ids.remove(key) else { return };
        if let Some(until) = entry.leased_until {
            self.end_claim(until, entry.fence);
        }
    }

    fn end_claim(&mut self, until: Instant, fence: u64) {
        let claim = (until, fence);
        if self.leases.remove(&claim).is_none() {
            self.lapsed.remove(&claim);
        }
    }

    /// Forgets what is beyond the bounds.
    fn shrink(&mut self, now: Instant, bounds: &MemoryInbox) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= bounds.age;
        while let Some((since, key)) = self.done.front() {
            if !is_old(*since) && self.done.len() <= bounds.ids {
                break;
            }
            self.ids.remove(key);
            self.done.pop_front();
        }
        while let Some(claim) = self.leases.first_entry().filter(|claim| claim.key().0 <= now) {
            let (until, key) = claim.remove_entry();
            self.lapsed.insert(until, key);
        }
        while let Some((&(until, _), _)) = self.lapsed.first_key_value() {
            if !is_old(until) && self.lapsed.len() <= bounds.ids {
                break;
            }
            if let Some((_, key)) = self.lapsed.pop_first() {
                self.ids.remove(&key);
            }
        }
    }
}

fn key(scope: &str, id: &str) -> Key {
    (Arc::from(scope), Arc::from(id))
}

#[async_trait]
impl Inbox for MemoryInbox {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        let mut known = self.known();
        let now = Instant::now();
        known.shrink(now, self);
        Ok(known.claim(key(scope, id), now, lease))
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        let mut known = self.known();
        let now = Instant::now();
        let commit = known.commit(ticket, now);
        known.shrink(now, self);
        Ok(commit)
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        self.known().release(ticket);
        Ok(())
    }
}

impl Default for MemoryInbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        f.debug_struct("MemoryInbox")
            .field("claimed", &(known.leases.len() + known.lapsed.len()))
            .field("done", &known.done.len())
            .finish_non_exhaustive()
    }
}
