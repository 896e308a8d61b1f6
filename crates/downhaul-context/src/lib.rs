#![doc = include_str!("../README.md")]
//!
//! # What to reach for
//!
//! | I want to | with |
//! |---|---|
//! | begin a tree; begin a test | [`Context::root`]; [`Context::background`] |
//! | give a part a life or a limit of its own | [`Context::child`], [`Context::with_timeout`] |
//! | and a name | [`Context::derive`] |
//! | stop a future at the end | [`Context::run`]; [`Context::run_owned`] to spawn |
//! | stop a loop or a thread | [`Context::check`], [`Context::is_done`] |
//! | take nothing new | [`Context::draining`], [`Context::is_draining`] |
//! | end it, now or when it is finished | [`Canceller::cancel_with`], [`Canceller::drain`] |
//! | know why it ended | [`Context::cause`], [`Context::done`] |
//! | know how long it may take | [`Context::remaining`], [`Context::ends_at`] |
//! | do something at the end, or after it | [`Context::on_done`], [`Context::after`] |
//! | clean up; outlive the request | [`Context::shielded`]; [`Context::detached`] |
//! | start tasks, wait, and name what does not stop | [`Scope`] |
//! | end with the first of two | [`Context::merged`], [`Context::child_until`] |
//! | carry an id everywhere | [`Context::with_value`], [`with_values`](Context::with_values) |
//! | read it | [`Context::value`] |
//! | take it to another process | [`Context::with_wire_value`], [`wire`] |
//! | say through which layers an error came, and for whom | [`ResultExt::layer`], [`Traced`] |
//! | see what is alive | [`Context::snapshot`], [`Derive::observed`] |
//! | know in a `tracing` layer for whom a line is | [`ambient`] |
//! | go on using `CancellationToken` | `child_until_token`, `to_token`: feature `tokio-util` |
//!
//! # Rules of use
//!
//! 1. Pass a `Context` as the first parameter, named `ctx`. Do not keep it in a struct that
//!    outlives the work.
//! 2. Who holds a [`Context`] can wait and derive; who holds the [`Canceller`] can end it. Hand out
//!    contexts.
//! 3. Dropping a [`Canceller`] ends its context, as Go's `defer cancel()` does. Keep it as long as
//!    the work: `let (ctx, _canceller)`, and never `let (ctx, _)`, which drops it at once.
//! 4. Draining asks, done tells. Loops that fetch new work look at [`draining`](Context::draining);
//!    work in progress looks at [`done`](Context::done), through [`run`](Context::run).
//! 5. Clean up on a context that is [`shielded`](Context::shielded), not on the one that has ended.
//! 6. Values are for what belongs to the request (ids, the principal), not for parameters a
//!    function needs.
//!
//! # What it guarantees
//!
//! 1. Levels only rise, `Live < Draining < Done`, for a context and all its descendants at once
//!    (`levels::draining_reaches_every_descendant_and_cancels_nothing`).
//! 2. When a cancel returns, all descendants have ended
//!    (`levels::cancel_ends_descendants_before_it_returns`), and no waiter misses it
//!    (`tree::deriving_waiting_and_cancelling_race_without_a_lost_wake`).
//! 3. The first cause wins and never changes, also where a deadline passed and nobody was waiting
//!    (`causes::a_deadline_nobody_watched_still_wins_over_a_later_cancel`).
//! 4. A child's deadline is never later than its parent's
//!    (`deadlines::a_child_never_outlives_its_parents_deadline`).
//! 5. A future that is ready wins over an end, and one whose context had ended is not polled
//!    (`waiting::run_prefers_a_ready_future_over_a_fresh_end`,
//!    `waiting::run_does_not_poll_the_future_of_a_context_that_has_ended`).
//! 6. What is dropped leaves nothing behind in its parents
//!    (`merging::nothing_of_a_merged_context_is_left_behind_in_its_parents`).
//! 7. A value that did not opt in is not printed and does not leave the process
//!    (`values::printing_a_context_does_not_print_its_values`,
//!    `wire::the_nearest_binding_crosses_and_one_that_did_not_opt_in_hides_it`), and whatever comes
//!    over the wire is read without a panic (`wire::whatever_comes_in_is_read_without_a_panic`).
//! 8. Ending or dropping a chain of 100,000 contexts does not recurse
//!    (`tree::a_very_deep_chain_is_ended_and_dropped`).
//! 9. A [`Traced`] error tells its layers in their order, whatever it becomes on its way
//!    (`traced::model::layers_and_values_stay_in_order_whatever_the_error_becomes`), in one line
//!    that nothing breaks
//!    (`traced::model::a_line_is_one_line_and_a_tree_has_one_for_each_layer_and_error`) and no
//!    secret is in (`traced::model::no_secret_is_in_anything_that_is_printed`). Who walks its
//!    sources finds all of them
//!    (`traced::whoever_walks_the_sources_finds_the_error_and_all_behind_it`), and who prints them
//!    prints none twice (`traced::whoever_prints_the_sources_prints_each_text_once`). Where there
//!    is no error it costs no allocation (`nothing_allocates_more_than_its_ceiling`).
//!
//! # What it does not do
//!
//! It cancels by asking: a future that never looks at its context is not stopped by it, unless
//! [`Context::run`] drops it, and a thread has to look. It starts no thread, and no tasks but those
//! that a [`Scope`] is asked for. There is no list of all contexts, and code is passed its own:
//! which one a thread works for is told to what [writes lines](ambient) alone.
//!
//! # Clock
//!
//! Deadlines are instants of tokio's clock, which tests can pause in a runtime of one thread: set
//! the deadlines that they are about in there. Deriving and checking need no runtime; waiting on a
//! context that has a deadline or drains needs a tokio runtime with its timer enabled.

pub mod ambient;
mod canceller;
mod cause;
mod chain;
mod clock;
mod context;
mod derive;
mod label;
mod listener;
mod node;
mod opted_in;
mod registration;
mod request_id;
mod run;
pub mod scope;
mod snapshot;
mod sync;
mod text;
mod timer;
#[cfg(feature = "tokio-util")]
mod token;
mod trace_context;
pub mod traced;
mod values;
mod wait;
mod waking;
pub mod wire;

pub use crate::canceller::Canceller;
pub use crate::cause::{Cause, CauseKind, Reason};
pub use crate::context::{Context, Level};
pub use crate::derive::Derive;
pub use crate::label::Label;
pub use crate::opted_in::WireValue;
pub use crate::registration::Registration;
pub use crate::request_id::{InvalidRequestId, RequestId};
pub use crate::scope::Scope;
pub use crate::snapshot::{Snapshot, SnapshotEntry};
pub use crate::trace_context::{InvalidTraceContext, TraceContext};
pub use crate::traced::{Class, Kind, ResultExt, Traced, TracedError};
pub use crate::values::ValueTuple;
pub use tokio::time::Instant;
