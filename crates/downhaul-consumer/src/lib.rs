#![doc = include_str!("../README.md")]
//!
//! # What to reach for
//!
//! | I want to | with |
//! |---|---|
//! | handle messages one by one; many in one call | [`Consumer::new`]; [`Consumer::batches`] |
//! | handle them on threads that may block | [`Consumer::blocking`] |
//! | keep the order of what belongs together | [`Consumer::ordered`], [`Message::with_key`] |
//! | say how much at a time | [`Settings`], also while it runs: [`ConsumerHandle::set`] |
//! | try again, give up | [`Failure`], [`RetryPolicy`], [`Consumer::classify`] |
//! | put dead letters back | [`DeadLetters`] |
//! | let messages lie while all of them fail | [`KillSwitch`] |
//! | process each message once | [`Consumer::dedupe`], [`inbox`] |
//! | publish if and only if a transaction commits | [`outbox`] |
//! | start, pause, resume, drain, stop, abort, restart | [`ConsumerHandle`] |
//! | see what goes on | [`ConsumerHandle::snapshot`], [`MessageObserver`] |
//! | see how an outbox does | [`outbox::RelayHandle`] |
//! | publish, and know what became of it | [`Publisher`] |
//! | a broker for tests, or for a service of one process | [`MemoryBroker`] |
//! | another broker | [`Broker`], [`Source`], [`Sink`] |
//!
//! # Rules of use
//!
//! 1. Handlers must be idempotent, or the consumer must [dedupe](Consumer::dedupe): a message is
//!    delivered at least once. Its [id](Incoming::id) tells a duplicate.
//! 2. Return an error to try again, [`Failure::permanent`] to give up. Never loop inside a handler
//!    for ever.
//! 3. Wrap waiting in [`Context::run`](downhaul_context::Context::run), so that stopping does not
//!    wait for it.
//! 4. Publish through a [`Publisher`] or as part of the [`Outcome`]; either is confirmed before the
//!    message that it came from is acknowledged, if you wait for it.
//!
//! # What it guarantees
//!
//! A message whose publish was confirmed is given to a handler until it is acknowledged or in the
//! dead-letter queue. Duplicates occur when the link or the process is lost between the work and
//! its settlement, and when an unknown publish is repeated. Each guarantee names its test; those
//! that are scenarios of `downhaul-testkit` are passed by every broker:
//!
//! 1. Nothing is lost with the link (`a_lost_link_loses_no_message`), nor by stopping
//!    (`stopping_finishes_what_is_begun_and_releases_the_rest`).
//! 2. Our own cancelling releases a message; it never counts as an attempt and never leads to the
//!    dead-letter queue (`a_handler_cancelled_by_stopping_is_released_not_retried`).
//! 3. A message that cannot be decoded, whose handler panics, or that has used up its attempts is a
//!    dead letter with its reason (`a_message_that_cannot_be_decoded_is_a_dead_letter`,
//!    `a_panic_is_a_dead_letter`,
//!    `a_message_that_keeps_failing_is_a_dead_letter_after_its_attempts`).
//! 4. After `pause` or `stop`, no handler begins
//!    (`after_the_word_to_stop_nothing_begins_though_all_is_ready_at_once`).
//! 5. What an outcome emits is confirmed before the message is acknowledged
//!    (`what_a_handler_emits_is_confirmed_before_the_ack`).
//! 6. An [ordered](Consumer::ordered) consumer handles the messages of a key one after the other
//!    (`messages_of_a_key_are_never_handled_at_the_same_time`), as they came
//!    (`messages_of_a_key_come_in_their_order`), and a slow key delays no other
//!    (`a_slow_key_does_not_hold_up_the_others`).
//! 7. An id is remembered as processed when it was, and not before
//!    (`a_message_whose_first_attempt_failed_is_handled_again`).
//! 8. A stop is over in its budgets, and says what it left
//!    (`the_report_of_a_stop_has_a_line_a_stage`).
//! 9. A [`Traced`](downhaul_context::Traced) error is tried again or given up by its kind, and a
//!    dead letter has all of it in one line, without secrets
//!    (`a_permanent_kind_is_a_dead_letter_at_once_whose_reason_is_the_line_without_secrets`,
//!    `any_other_kind_is_tried_again_and_its_last_line_is_kept`).
//!
//! # What it does not do
//!
//! It keeps no order between two consumers of one queue, unless the broker has partitions. It does
//! not count attempts that were lost with a link. It has no transactions over broker and database:
//! that is what [`outbox`] and [`inbox`] are for. The memory brokers keep nothing on disk.
//!
//! # Features
//!
//! - `sqlite`: `SqliteInbox` and `SqliteOutbox`.
//! - `testing`: trials of consumers on the paused clock, and a broker that fails on purpose.

mod batch;
mod broker;
mod consumer;
mod dead_letters;
mod decode;
mod engine;
mod error;
mod handle;
mod handler;
mod in_flight;
pub mod inbox;
mod kill_switch;
mod kinds;
mod later;
mod lifecycle;
mod memory;
mod memory_log;
mod message;
mod observer;
mod origin;
pub mod outbox;
mod panic_text;
mod publish;
mod publisher;
mod rate;
mod retry;
mod settings;
mod settlement;
mod shared;
mod snapshot;
mod store;
mod subscription;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
mod way;

pub use crate::batch::{Batches, IntoOutcomes};
pub use crate::broker::{
    Broker, Capabilities, Certainty, Delivery, Event, HeldLane, HeldLanes, Lane, Revoking, Row,
    Settled, Sink, Source, Token, Verdict,
};
pub use crate::consumer::Consumer;
pub use crate::dead_letters::{DeadLetters, ReplayError, Replayed};
pub use crate::decode::{Decode, DecodeError, Json};
pub use crate::error::{BrokerError, BrokerErrorKind, PublishError, PublishErrorKind};
pub use crate::handle::ConsumerHandle;
pub use crate::handler::{Incoming, Meta};
pub use crate::in_flight::InFlight;
pub use crate::kill_switch::KillSwitch;
pub use crate::lifecycle::{Link, State, Status, StopReport, StopStage, Wanted};
pub use crate::memory::{MemoryBroker, QueueDepth};
pub use crate::memory_log::MemoryLog;
pub use crate::message::headers::{self, Headers};
pub use crate::message::{Message, Name};
pub use crate::observer::{MessageObserver, Processed, Published};
pub use crate::origin::Position;
pub use crate::publish::{Destination, Outgoing, PublishOutcome, Receipt, ReceiptSender};
pub use crate::publisher::Publisher;
pub use crate::rate::Rate;
pub use crate::retry::RetryPolicy;
pub use crate::settings::Settings;
pub use crate::settlement::{Failure, IntoOutcome, Outcome, Settlement};
pub use crate::snapshot::{LastError, Snapshot};
pub use crate::store::{StoreError, StoreErrorKind};
pub use crate::subscription::Subscription;
pub use crate::tally::Tally;
#[cfg(feature = "sqlite")]
pub use rusqlite;
