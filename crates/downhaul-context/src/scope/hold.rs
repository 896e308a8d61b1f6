//! [`Hold`]: work in flight that is not a task.

use std::fmt;

use super::shared::Ticket;

/// Keeps a scope from ending while it lives; made by [`Scope::hold`](super::Scope::hold).
///
/// It can move to another thread and outlive the scope. Taking one allocates nothing if its name is
/// static.
///
/// # Examples
///
/// ```
/// # use downhaul_context::{Context, Level, Scope};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let scope = Scope::new(&Context::background(), "files");
/// let upload = scope.hold("upload").unwrap();
/// scope.drain(Duration::from_secs(30));
/// assert_eq!(scope.ctx().level(), Level::Draining);
///
/// drop(upload); // the last work: no need to wait for the end of the grace
/// assert_eq!(scope.ctx().level(), Level::Done);
/// # }
/// ```
#[must_use = "dropping a hold lets go"]
pub struct Hold(Ticket);

impl Hold {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self(ticket)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.0.id()).finish()
    }
}
