//! [`Refreshing`]: telling the broker a new password before the old one ends.

use std::sync::Weak;
use std::time::Duration;

use lapin::Connection;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::credentials::{Lease, Provider};

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
    pub(crate) fn start(connection: Weak<Connection>, provider: Provider, lease: Lease) -> Self {
        Self(tokio::spawn(run(connection, provider, lease)))
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(connection: Weak<Connection>, provider: Provider, mut lease: Lease) {
    let mut wait = lease.renew_in();
    loop {
        sleep(wait.max(LEAST)).await;
        let Some(connection) = connection.upgrade().filter(|open| open.status().connected()) else {
            return;
        };
        let again = (lease.valid_for / TRIES).max(LEAST);
        let updated = timeout(again, update(&connection, &provider)).await;
        match updated.unwrap_or_else(|_| Err(format!("no answer in {again:?}"))) {
            Ok(Some(next)) => (lease, wait) = (next, next.renew_in()),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error, "the password at RabbitMQ was not renewed");
                wait = again;
            }
        }
    }
}

/// Returns how long the new one holds.
async fn update(connection: &Connection, provider: &Provider) -> Result<Option<Lease>, String> {
    let credentials = provider.ask().await.map_err(|error| error.chain())?;
    let lease = credentials.lease();
    let password = credentials.password.into();
    let updated = connection.update_secret(password, "the old one ends soon".into()).await;
    updated.map_err(|error| error.to_string())?;
    Ok(lease)
}
