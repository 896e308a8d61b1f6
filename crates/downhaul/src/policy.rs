//! [`Policy`]: what an app does with one of its components.

use std::time::Duration;

use crate::restart::Restart;

/// How long a component may take to stop once its context has ended, unless it is told otherwise.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// What an app does with one of its components: how long it may take, whether it runs again after a
/// failure, and whether the app can do without it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use downhaul::{App, Policy, Restart, Task};
///
/// let mut app = App::new("shop");
/// let refresh = Task::new(|ctx| async move {
///     ctx.draining().await;
///     Ok::<_, std::io::Error>(())
/// });
/// let refresh = app.add("refresh", refresh, []);
/// app.policy(refresh, Policy::new().optional().restart(Restart::new()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Policy {
    pub(crate) essential: bool,
    pub(crate) restart: Option<Restart>,
    pub(crate) start_within: Option<Duration>,
    pub(crate) stop_within: Option<Duration>,
    pub(crate) cancel_grace: Duration,
}

impl Policy {
    /// Essential, not started again, and with all the time to stop that the grace leaves it.
    pub const fn new() -> Self {
        Self {
            essential: true,
            restart: None,
            start_within: None,
            stop_within: None,
            cancel_grace: CANCEL_GRACE,
        }
    }

    /// The app goes on without it when it has failed for good, and is ready without it. What needs
    /// it stops with it. One that an essential component needs is essential whatever it says.
    pub const fn optional(mut self) -> Self {
        self.essential = false;
        self
    }

    /// Starts it again when it has failed.
    ///
    /// The first start of an essential component is not tried again: an app that cannot start says
    /// so at once.
    pub const fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
        self
    }

    /// How long it may take to start. Default: what the app says, 10 s.
    pub const fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = Some(limit);
        self
    }

    /// How long it may take to stop: to drain, and then to end once its context has. Default: what
    /// the grace leaves.
    ///
    /// With a limit for each component, [`Plan`](crate::Plan) can tell how long a stop takes at
    /// worst.
    pub const fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = Some(limit);
        self
    }

    /// The part of its time to stop that is kept for the end of its context, after it has not
    /// drained. Default 0.5 s, and at most a quarter of the time.
    pub const fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}
