//! One lifetime for a request or a message: cancellation in two levels, deadlines and typed values.
//!
//! A [`Context`] is passed explicitly, as the first parameter, to everything that works on behalf
//! of a request, a message or a service. Contexts form a tree: what ends the parent ends all its
//! descendants.
//!
//! ```
//! use downhaul_context::{Context, Level, RequestId};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (service, canceller) = Context::root();
//!
//! let (request, _cancel_on_drop) = service.with_timeout(Duration::from_secs(5));
//! let request = request.with_value(RequestId::generate());
//! assert!(request.value::<RequestId>().is_some());
//!
//! canceller.drain(Duration::from_secs(30));          // take nothing new, finish what is begun
//! assert_eq!(request.level(), Level::Draining);
//! assert!(request.check().is_ok());                  // nothing is cancelled yet
//!
//! canceller.cancel();                                // stop now
//! let cause = request.done().await;
//! println!("{cause}");                               // cancelled at src/main.rs:20
//! # }
//! ```
//!
//! # Rules of use
//!
//! 1. Pass a `Context` as the first parameter, named `ctx`. Do not keep it in a struct that
//!    outlives the work.
//! 2. Who holds a [`Context`] can wait and derive; who holds the [`Canceller`] can end it. Hand out
//!    contexts.
//! 3. Dropping a [`Canceller`] ends its context, as Go's `defer cancel()` does. Keep it as long as
//!    the work.
//! 4. Values are for what belongs to the request (ids, the principal), not for parameters a
//!    function needs.
//! 5. Draining asks, Done tells. Loops that fetch new work look at [`Context::draining`]; work in
//!    progress looks at [`Context::done`].
//!
//! # What it guarantees
//!
//! 1. Levels only rise, `Live < Draining < Done`, for a context and all its descendants at once
//!    (`levels::draining_reaches_every_descendant_and_cancels_nothing`).
//! 2. The first cause wins and never changes, also where a deadline passed and nobody was waiting
//!    (`causes::a_deadline_nobody_watched_still_wins_over_a_later_cancel`).
//! 3. A child's deadline is never later than its parent's
//!    (`deadlines::a_child_never_outlives_its_parents_deadline`).
//! 4. Ending or dropping a chain of 100,000 contexts does not recurse
//!    (`tree::a_very_deep_chain_is_ended_and_dropped`).
//!
//! # What it does not do
//!
//! It cancels by asking: a future that never looks at its context is not stopped by it.
//! [`Context::run`] drops the future it wraps. There is no ambient "current" context.
//!
//! # Clock
//!
//! Deadlines are instants of tokio's clock, which tests can pause. Deriving and checking need no
//! runtime; waiting on a context that has a deadline needs a tokio runtime with its timer enabled.

mod canceller;
mod cause;
mod clock;
mod context;
mod derive;
mod listener;
mod node;
mod opted_in;
mod registration;
mod request_id;
pub mod scope;
mod snapshot;
mod sync;
mod timer;
#[cfg(feature = "tokio-util")]
mod token;
mod trace_context;
mod values;
mod wait;
pub mod wire;

pub use crate::canceller::Canceller;
pub use crate::cause::{Cause, CauseKind, Reason};
pub use crate::context::{Context, Level};
pub use crate::derive::Derive;
pub use crate::opted_in::WireValue;
pub use crate::registration::Registration;
pub use crate::request_id::{InvalidRequestId, RequestId};
pub use crate::scope::Scope;
pub use crate::snapshot::{Snapshot, SnapshotEntry};
pub use crate::trace_context::{InvalidTraceContext, TraceContext};
pub use tokio::time::Instant;
