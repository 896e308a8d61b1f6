//! [`DrainPlan`] and [`DrainReport`]: how a server is asked to stop, and how it did.

use std::fmt;
use std::time::Duration;

use crate::lifetime::request_info::RequestInfo;

/// How long each phase of a drain may take. The sum bounds the drain.
///
/// # Examples
///
/// ```
/// use downhaul_http::DrainPlan;
/// use std::time::Duration;
///
/// let plan = DrainPlan::within(Duration::from_secs(30));
/// assert_eq!(plan.total(), Duration::from_secs(30));
/// assert_eq!(plan.lame_duck, Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainPlan {
    /// Still accepts and answers, with `Connection: close`, while load balancers look elsewhere.
    pub lame_duck: Duration,
    /// Accepts nothing; what is begun may finish.
    pub finish: Duration,
    /// The contexts of what is left have ended; handlers may clean up.
    pub cancel_grace: Duration,
    /// Handlers are aborted and sockets closed; this long the server waits to see them gone.
    pub force: Duration,
}

impl Default for DrainPlan {
    /// 5 s lame duck, 20 s to finish, 3 s of cancel grace, 2 s of force.
    fn default() -> Self {
        Self {
            lame_duck: Duration::from_secs(5),
            finish: Duration::from_secs(20),
            cancel_grace: Duration::from_secs(3),
            force: Duration::from_secs(2),
        }
    }
}

impl DrainPlan {
    /// Divides `total` among the phases as the default does: 5/30, 20/30, 3/30 and 2/30 of it.
    pub fn within(total: Duration) -> Self {
        let part = total / 30;
        let (lame_duck, cancel_grace, force) = (part * 5, part * 3, part * 2);
        let finish = total.saturating_sub(lame_duck + cancel_grace + force);
        Self { lame_duck, finish, cancel_grace, force }
    }

    /// Without a lame duck: for servers behind nothing that balances, and for tests.
    #[must_use]
    pub fn without_lame_duck(self) -> Self {
        Self { lame_duck: Duration::ZERO, ..self }
    }

    /// Sets [`lame_duck`](Self::lame_duck).
    #[must_use]
    pub fn lame_duck(self, lame_duck: Duration) -> Self {
        Self { lame_duck, ..self }
    }

    /// Sets [`finish`](Self::finish).
    #[must_use]
    pub fn finish(self, finish: Duration) -> Self {
        Self { finish, ..self }
    }

    /// Sets [`cancel_grace`](Self::cancel_grace).
    #[must_use]
    pub fn cancel_grace(self, cancel_grace: Duration) -> Self {
        Self { cancel_grace, ..self }
    }

    /// Sets [`force`](Self::force).
    #[must_use]
    pub fn force(self, force: Duration) -> Self {
        Self { force, ..self }
    }

    /// The longest that a drain by this plan takes.
    pub fn total(&self) -> Duration {
        let phases = [self.lame_duck, self.finish, self.cancel_grace, self.force];
        phases.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }
}

/// How a drain went.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "says which requests did not finish"]
pub struct DrainReport {
    /// The requests that ended by themselves since the drain began, those of the lame duck
    /// included.
    pub finished: u64,
    /// The requests that ended after the server had ended their contexts, within the cancel grace,
    /// and those whose clients took nothing of the answer for the
    /// [`write_timeout`](crate::Server::write_timeout).
    pub cancelled: u64,
    /// Those, as they were when the server cut them short; of more than 10,000, these.
    pub cut_short: Vec<RequestInfo>,
    /// The requests that did not end in time: aborted, their sockets closed.
    pub forced: Vec<RequestInfo>,
    /// How long it took.
    pub took: Duration,
}

impl DrainReport {
    /// Says whether every request ended by itself.
    pub fn is_clean(&self) -> bool {
        self.cancelled == 0 && self.forced.is_empty()
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, cancelled, cut_short, forced, took } = self;
        let took = took.as_millis();
        write!(f, "drained in {took} ms: {finished} finished, {cancelled} cancelled, ")?;
        write!(f, "{} forced", forced.len())?;
        for (index, request) in cut_short.iter().chain(forced).enumerate() {
            write!(f, "{} {request}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}
