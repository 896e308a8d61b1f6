//! [`Refreshing`]: telling the broker a new password before the old one ends.

use std::sync::Weak;
use std::time::Duration;

use lapin::Connection;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::credentials::Provider;

/// After a failure, there is a quarter of the time left.
const TRIES: u32 = 10;
/// The least time between two tries, however short-lived the passwords are.
const LEAST: Duration = Duration::from_millis(100);

/// A task that ends with this, or with the connection.
///
/// RabbitMQ closes a connection whose password has ended, and then it is opened anew with another:
/// so nothing is lost if this fails, but messages come twice.
#[derive(Debug)]
pub(crate) struct Refreshing(JoinHandle<()>);

impl Refreshing {
    pub(crate) fn start(
        connection: Weak<Connection>,
        provider: Provider,
        valid_for: Duration,
    ) -> Self {
        Self(tokio::spawn(run(connection, provider, valid_for)))
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(connection: Weak<Connection>, provider: Provider, mut valid_for: Duration) {
    let mut wait = soon_over(valid_for);
    loop {
        sleep(wait.max(LEAST)).await;
        let Some(connection) = connection.upgrade().filter(|open| open.status().connected()) else {
            return;
        };
        let again = (valid_for / TRIES).max(LEAST);
        let updated = timeout(again, update(&connection, &provider)).await;
        match updated.unwrap_or_else(|_| Err(format!("no answer in {again:?}"))) {
            Ok(Some(next)) => (valid_for, wait) = (next, soon_over(next)),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error, "the password at RabbitMQ was not renewed");
                wait = again;
            }
        }
    }
}

fn soon_over(valid_for: Duration) -> Duration {
    valid_for / 4 * 3
}

/// Returns how long the new one holds.
async fn update(connection: &Connection, provider: &Provider) -> Result<Option<Duration>, String> {
    let credentials = provider.ask().await.map_err(|error| error.chain())?;
    let password = credentials.password.into();
    let updated = connection.update_secret(password, "the old one ends soon".into()).await;
    updated.map_err(|error| error.to_string())?;
    Ok(credentials.valid_for)
}
