//! [`Health`]: whether any broker can be reached.
//!
//! librdkafka says when it has lost all brokers, not when it has one again, and goes on trying for
//! ever. A short break costs nothing: the membership outlives it. After the session timeout the
//! group has given the partitions to others, and a source that can say nothing is as good as dead.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use futures_util::future::BoxFuture;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use tokio::time::{Instant, sleep};

use crate::blocking::blocking;
use crate::source::callbacks::Client;

/// How often it is asked, and how long an answer may take.
const ASK: Duration = Duration::from_secs(1);

pub(super) struct Health {
    /// What the membership outlives.
    patience: Duration,
    servers: String,
    topic: String,
    is_in_doubt: bool,
    /// Since when nobody has answered.
    silent_since: Option<Instant>,
    asking: Option<BoxFuture<'static, Result<(), KafkaError>>>,
}

impl Health {
    pub(super) fn new(patience: Duration, servers: String, topic: String) -> Self {
        Self { patience, servers, topic, is_in_doubt: false, silent_since: None, asking: None }
    }

    /// Notes a sign of life.
    pub(super) fn is_well(&mut self) {
        (self.is_in_doubt, self.silent_since, self.asking) = (false, None, None);
    }

    /// Notes that librdkafka has lost all brokers.
    pub(super) fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    /// While in doubt, asks for a sign of life; returns when there was none for too long. Cancel
    /// safe.
    pub(super) async fn check(&mut self, client: &Arc<Client>) -> BrokerError {
        while self.is_in_doubt {
            let silent_since = *self.silent_since.get_or_insert_with(Instant::now);
            let asking = self.asking.get_or_insert_with(|| ask(client, &self.topic));
            let answer = asking.await;
            self.asking = None;
            if answer.is_ok() {
                self.is_well();
            } else if silent_since.elapsed() >= self.patience {
                let (servers, patience) = (&self.servers, self.patience);
                let what = format!("reach Kafka at {servers} for {patience:?}");
                return client.context().trouble.error(&what);
            }
        }
        pending().await
    }
}

fn ask(client: &Arc<Client>, topic: &str) -> BoxFuture<'static, Result<(), KafkaError>> {
    let (client, topic) = (Arc::downgrade(client), topic.to_owned());
    Box::pin(async move {
        sleep(ASK).await;
        let Some(client) = client.upgrade() else { return Ok(()) };
        blocking(move || client.fetch_metadata(Some(&topic), ASK).map(drop)).await
    })
}
