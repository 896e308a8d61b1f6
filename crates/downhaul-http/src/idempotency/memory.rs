//! [`MemoryStore`]: the keys of one process.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_context::{Context, Instant};

use super::{Claim, IdempotencyStore, StoredAnswer, Ticket};
use crate::error::BoxError;

/// What an answer takes beyond its bytes, about.
const OVERHEAD: usize = 512;

/// Remembers keys and answers in memory, for one process and as long as it lives.
///
/// It is bounded in number, bytes and age; what is beyond is forgotten, the oldest answer first,
/// and its key is new then. Keys whose request is worked on are not counted and not forgotten.
///
/// | what | default | set by |
/// |---|---|---|
/// | answers | 10,000 | [`max_answers`](Self::max_answers) |
/// | bytes of all answers, about | 64 MiB | [`max_bytes`](Self::max_bytes) |
/// | age of an answer | 24 h | [`max_age`](Self::max_age) |
pub struct MemoryStore {
    answers: usize,
    bytes: usize,
    age: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    requests: HashMap<String, Remembered>,
    /// The keys of all answers, the oldest first, and when they were kept.
    answered: VecDeque<(Instant, String)>,
    bytes: usize,
}

struct Remembered {
    fingerprint: String,
    owner: String,
    /// None while the request is worked on.
    answer: Option<StoredAnswer>,
}

impl MemoryStore {
    /// A store with the default bounds.
    pub fn new() -> Self {
        let age = Duration::from_secs(24 * 60 * 60);
        Self { answers: 10_000, bytes: 64 << 20, age, known: Mutex::default() }
    }

    /// How many answers it keeps.
    #[must_use]
    pub fn max_answers(mut self, answers: usize) -> Self {
        self.answers = answers;
        self
    }

    /// How many bytes all answers have together, with half a kibibyte for what each costs besides.
    /// One that is larger alone is not kept.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// How long an answer is kept.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    fn claim_now(&self, ticket: &Ticket) -> Claim {
        let mut known = self.known();
        let forgotten = known.forget(self);
        let claim = match known.requests.entry(ticket.key().to_owned()) {
            Entry::Vacant(new) => {
                new.insert(Remembered {
                    fingerprint: ticket.fingerprint().to_owned(),
                    owner: ticket.owner().to_owned(),
                    answer: None,
                });
                Claim::Granted
            }
            Entry::Occupied(known) if known.get().fingerprint != ticket.fingerprint() => {
                Claim::OtherRequest
            }
            Entry::Occupied(known) => {
                known.get().answer.clone().map_or(Claim::InFlight, Claim::Answered)
            }
        };
        drop(known);
        drop(forgotten);
        claim
    }

    fn keep_now(&self, ticket: &Ticket, answer: StoredAnswer) {
        let size = size(&answer);
        let mut known = self.known();
        let Some(remembered) = known.claimed(ticket) else { return };
        if size > self.bytes {
            // All others would have to go, and it would not fit then.
            let forgotten = known.requests.remove(ticket.key());
            drop(known);
            return drop(forgotten);
        }
        remembered.answer = Some(answer);
        known.bytes += size;
        known.answered.push_back((Instant::now(), ticket.key().to_owned()));
        let forgotten = known.forget(self);
        drop(known);
        drop(forgotten);
    }

    fn release_now(&self, ticket: &Ticket) {
        let mut known = self.known();
        if known.claimed(ticket).is_some() {
            known.requests.remove(ticket.key());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The claim of a ticket that is worked on.
    fn claimed(&mut self, ticket: &Ticket) -> Option<&mut Remembered> {
        let remembered = self.requests.get_mut(ticket.key())?;
        Some(remembered).filter(|found| found.answer.is_none() && found.owner == ticket.owner())
    }

    /// Takes out the oldest answers beyond the bounds, to be dropped without the lock.
    fn forget(&mut self, bounds: &MemoryStore) -> Vec<Remembered> {
        let now = Instant::now();
        let mut forgotten = Vec::new();
        while let Some((kept, _)) = self.answered.front() {
            let is_old = now.duration_since(*kept) >= bounds.age;
            let are_many = self.answered.len() > bounds.answers || self.bytes > bounds.bytes;
            if !is_old && !are_many {
                break;
            }
            let Some((_, key)) = self.answered.pop_front() else { break };
            let Some(remembered) = self.requests.remove(&key) else { continue };
            self.bytes -= remembered.answer.as_ref().map_or(0, size);
            forgotten.push(remembered);
        }
        forgotten
    }
}

fn size(answer: &StoredAnswer) -> usize {
    let headers = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    headers.sum::<usize>() + answer.body().len() + OVERHEAD
}

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn claim(&self, _ctx: &Context, ticket: &Ticket) -> Result<Claim, BoxError> {
        Ok(self.claim_now(ticket))
    }

    async fn keep(
        &self,
        _ctx: &Context,
        ticket: &Ticket,
        answer: StoredAnswer,
    ) -> Result<(), BoxError> {
        self.keep_now(ticket, answer);
        Ok(())
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), BoxError> {
        self.release_now(ticket);
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        f.debug_struct("MemoryStore")
            .field("answers", &known.answered.len())
            .field("bytes", &known.bytes)
            .finish_non_exhaustive()
    }
}
