//! [`RouteLimits`]: what some routes need that the rest of a server does not.

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::Context;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{COME_BACK, Error};
use crate::lifetime::in_flight::InFlight;
use crate::serve::limits::OnDisconnect;

/// Limits of some routes, in place of the server's; what is not set stays the server's.
///
/// [`Router::limits`](crate::Router::limits) sets them for a router, and so for what is
/// [nested](crate::Router::nest) from it; as a tower layer they do the same for routes of axum.
/// Where there are several, the innermost counts.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::{Error, OnDisconnect, Request, RouteLimits, Router};
/// use std::time::Duration;
///
/// async fn show(_ctx: Context, req: Request) -> Result<String, Error> {
///     req.param("id")
/// }
///
/// async fn import(_ctx: Context, mut req: Request) -> Result<String, Error> {
///     Ok(format!("{} bytes", req.bytes().await?.len()))
/// }
///
/// let slow = RouteLimits::new()
///     .timeout(Duration::from_secs(300))
///     .body_limit(1 << 30)
///     .on_disconnect(OnDisconnect::Finish)
///     .concurrency(4);
/// let router = Router::new()
///     .get("/orders/{id}", show)
///     .nest("/imports", Router::new().post("/orders", import).limits(slow));
/// # let _: Router = router;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "give them to a router"]
pub struct RouteLimits {
    timeout: Option<Duration>,
    cancel_grace: Option<Duration>,
    body_bytes: Option<usize>,
    on_disconnect: Option<OnDisconnect>,
    permits: Option<Arc<Semaphore>>,
}

impl RouteLimits {
    /// Limits that are all the server's.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Server::timeout`](crate::Server::timeout), and longer or shorter than that. It counts
    /// from the head of the request, and a client may still [shorten] it. A handler may [ask] for
    /// as much, also beyond [`Server::max_timeout`](crate::Server::max_timeout).
    ///
    /// [shorten]: crate::Server::client_budget
    /// [ask]: crate::Request::set_timeout
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// No deadline but the one that a client asks for: for streams of events.
    pub fn no_timeout(self) -> Self {
        self.timeout(Duration::MAX)
    }

    /// As [`Server::cancel_grace`](crate::Server::cancel_grace).
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = Some(grace);
        self
    }

    /// As [`Server::body_limit`](crate::Server::body_limit), in bytes.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_bytes = Some(bytes);
        self
    }

    /// As [`Server::on_disconnect`](crate::Server::on_disconnect).
    pub fn on_disconnect(mut self, policy: OnDisconnect) -> Self {
        self.on_disconnect = Some(policy);
        self
    }

    /// How many requests these routes handle at once, all of them together; others read 503 with
    /// `Retry-After` at once, rather than wait for an answer that may come too late. Default: no
    /// bound.
    ///
    /// # Panics
    ///
    /// If the number is larger than a semaphore can count, which is `usize::MAX >> 3`.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.permits = Some(Arc::new(Semaphore::new(requests)));
        self
    }

    /// Puts a request under these limits, for as long as the permit lives where they bound how many
    /// there are at once.
    pub(crate) fn enter(
        &self,
        ctx: Context,
        request: Option<&InFlight>,
    ) -> Result<(Context, Option<OwnedSemaphorePermit>), Error> {
        let permit = self.permits.clone().map(Semaphore::try_acquire_owned).transpose();
        let permit = permit.map_err(|_| {
            Error::unavailable("too many of these requests at once; try again")
                .retry_after(COME_BACK)
        })?;
        // Only a request that no `Server` served is not in flight.
        let Some(request) = request else { return Ok((ctx, permit)) };
        if let Some(bytes) = self.body_bytes {
            request.set_body_limit(bytes);
        }
        request.set_rules(self.cancel_grace, self.on_disconnect);
        let ctx = match self.timeout {
            Some(timeout) => request.grant_by_route(&ctx, timeout),
            None => ctx,
        };
        Ok((ctx, permit))
    }
}
