//! Idempotency keys: a request that comes again is answered with what was answered first, and is
//! not carried out again.
//!
//! A client that got no answer does not know whether its order was placed. It sends the request
//! again with the same `Idempotency-Key`, and [`Idempotency`] tells it what the first one was told,
//! by draft-ietf-httpapi-idempotency-key-header-07:
//!
//! | a request with a key | answer |
//! |---|---|
//! | that is new | that of its handler, which is kept |
//! | that is known | what was kept, with `idempotent-replayed: true` |
//! | whose first request is still worked on | 409, with `Retry-After` |
//! | that was used for another request | 422 |
//! | that is not valid, or missing where it is [required](Idempotency::required) | 400 |
//!
//! The feature `idempotency` adds it.
//!
//! # What is kept
//!
//! Status, headers and body of every answer but those that ask to try again: 5xx, 408, 425 and 429.
//! A handler that ends without an answer, because it panicked, was cancelled or lost its client,
//! frees its key. What it had done by then is done: give such routes
//! [`OnDisconnect::Finish`](crate::OnDisconnect::Finish), so that a client that left finds an
//! answer when it comes back.

mod answer;
mod claimed;
mod key;
mod layer;
mod memory;
mod rules;
mod store;

pub use self::answer::StoredAnswer;
pub use self::key::IdempotencyKey;
pub use self::layer::{Idempotent, IdempotentFuture};
pub use self::memory::MemoryStore;
pub use self::rules::Idempotency;
pub use self::store::{Claim, IdempotencyStore, Ticket};
