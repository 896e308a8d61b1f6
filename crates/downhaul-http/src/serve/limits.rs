//! [`Limits`]: everything a server bounds, with its default.

use std::time::Duration;

use crate::serve::http2_limits::Http2Limits;

/// What becomes of a request whose client went away before the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDisconnect {
    /// Its context ends with [`CauseKind::ClientGone`], and after the cancel grace its handler is
    /// aborted.
    ///
    /// [`CauseKind::ClientGone`]: downhaul_context::CauseKind::ClientGone
    #[default]
    Cancel,
    /// It runs on, under the same deadline, and nobody gets the answer. Drains wait for it.
    Finish,
}

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    /// What a handler may ask for beyond that.
    pub(crate) max_timeout: Duration,
    pub(crate) client_budget: bool,
    pub(crate) min_client_budget: Duration,
    pub(crate) client_request_id: bool,
    pub(crate) own_tasks: bool,
    pub(crate) cancel_grace: Duration,
    pub(crate) body_limit: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_connection_age: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) connections_per_ip: usize,
    pub(crate) headers: usize,
    pub(crate) max_header_bytes: usize,
    pub(crate) http2: Http2Limits,
    pub(crate) on_disconnect: OnDisconnect,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_timeout: Duration::ZERO,
            client_budget: true,
            min_client_budget: Duration::from_millis(10),
            client_request_id: true,
            own_tasks: false,
            cancel_grace: Duration::from_secs(1),
            body_limit: 2 << 20,
            body_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            // Longer than the 60 s for which proxies keep theirs (nginx and AWS by default): who
            // closes first must not be the one to whom requests are sent.
            idle_timeout: Duration::from_secs(75),
            max_connection_age: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(30),
            connections: 10_000,
            connections_per_ip: usize::MAX,
            headers: 100,
            max_header_bytes: 16 << 10,
            http2: Http2Limits::default(),
            on_disconnect: OnDisconnect::Cancel,
        }
    }
}

impl Limits {
    /// How long a request may take whose client waits so long.
    pub(crate) fn bounded(&self, budget: Option<Duration>) -> Duration {
        budget.map_or(self.timeout, |budget| budget.min(self.timeout))
    }

    /// What counts of what a client says: nothing where it is not asked, and else no less than the
    /// least, but for a client that has no time at all.
    pub(crate) fn counting(&self, budget: Option<Duration>) -> Option<Duration> {
        let budget = budget.filter(|_| self.client_budget)?;
        Some(if budget.is_zero() { budget } else { budget.max(self.min_client_budget) })
    }
}
