//! [`Credentials`]: who we are at the broker, where that is asked for anew each time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use downhaul_context::scope::BoxError;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::Instant;

/// A user and a password, or a token in its place. Its `Debug` shows neither.
///
/// # Examples
///
/// ```
/// use downhaul_rabbitmq::Credentials;
///
/// let credentials = Credentials::new("inventory", "s3cret");
/// assert!(!format!("{credentials:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) valid_for: Option<Duration>,
}

impl Credentials {
    /// A user and what proves it. For OAuth 2 the token is the password, and RabbitMQ ignores the
    /// user.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into(), valid_for: None }
    }

    /// Says that the password ends so long after it was given. A connection that lives so long is
    /// told a new one when three quarters of it are over, with `connection.update-secret`; without
    /// this, a connection keeps what it was opened with.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = Some(time);
        self
    }

    /// How long the password holds that was given just now.
    pub(crate) fn lease(&self) -> Option<Lease> {
        self.valid_for.map(|valid_for| Lease { begun: Instant::now(), valid_for })
    }
}

/// The time in which a password holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    begun: Instant,
    pub(crate) valid_for: Duration,
}

impl Lease {
    /// How long until it is time for the next one.
    pub(crate) fn renew_in(self) -> Duration {
        (self.valid_for / 4 * 3).saturating_sub(self.begun.elapsed())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("valid_for", &self.valid_for).finish_non_exhaustive()
    }
}

type Ask = dyn Fn() -> BoxFuture<'static, Result<Credentials, BoxError>> + Send + Sync;

/// Whoever has the credentials.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Ask>);

impl Provider {
    pub(crate) fn new<F, R, E>(ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Arc::new(move || ask().map(|asked| asked.map_err(Into::into)).boxed()))
    }

    /// # Errors
    ///
    /// Never a permanent one: whoever has the credentials may have them again in a moment.
    pub(crate) async fn ask(&self) -> Result<Credentials, BrokerError> {
        let words = "the credentials for RabbitMQ could not be had";
        let unavailable =
            |error| BrokerError::new(BrokerErrorKind::Unreachable, words).with_source(error);
        (self.0)().await.map_err(unavailable)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}
