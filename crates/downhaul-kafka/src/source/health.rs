//! [`Health`]: whether any broker that matters can be reached, and answers.
//!
//! librdkafka goes on trying for ever. It says when it has lost all brokers, not when it has one
//! again; and of one that is there and does not answer it says nothing for a minute. What it counts
//! tells when a broker was last heard, and none is silent for longer than between two heartbeats.
//!
//! A short break costs nothing but is told: the membership outlives it. After the session timeout
//! the group has given the partitions to others, and a source that can say nothing is as good as
//! dead.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use futures_util::future::BoxFuture;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use tokio::time::{Instant, sleep};

use crate::blocking::blocking;
use crate::error::unreachable;
use crate::source::callbacks::Client;
use crate::source::mailbox::{Mailbox, Notice};

/// How often it is asked, and how long an answer may take.
const ASK: Duration = Duration::from_secs(1);

/// How long a doubt lasts before it is told. A process that was frozen itself finds all brokers
/// silent, until it has read what they said.
const TELL: Duration = Duration::from_secs(2);

/// How much longer than a heartbeat all may be silent.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) struct Health {
    /// What the membership outlives.
    patience: Duration,
    /// Between two heartbeats.
    heartbeat: Duration,
    servers: String,
    topic: String,
    mailbox: Arc<Mailbox>,
    /// When a broker that matters was last heard, as far as that was looked at.
    heard_at: Option<Instant>,
    /// Since when it is known that they are silent.
    silent_since: Option<Instant>,
    /// Since when it is asked, and nobody has answered.
    doubted_since: Option<Instant>,
    asking: Option<BoxFuture<'static, Result<(), KafkaError>>>,
    /// Whether it was told that they are away.
    is_away: bool,
}

impl Health {
    pub(super) fn new(
        patience: Duration,
        heartbeat: Duration,
        servers: String,
        topic: String,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self {
            patience,
            heartbeat,
            servers,
            topic,
            mailbox,
            heard_at: None,
            silent_since: None,
            doubted_since: None,
            asking: None,
            is_away: false,
        }
    }

    /// Notes a sign of life.
    pub(super) fn is_well(&mut self) {
        (self.silent_since, self.doubted_since, self.asking) = (None, None, None);
        if std::mem::take(&mut self.is_away) {
            self.mailbox.put(Notice::Back);
        }
    }

    /// Notes that librdkafka has lost all brokers.
    pub(super) fn doubt(&mut self) {
        self.doubted_since.get_or_insert_with(Instant::now);
    }

    /// Notes for how long all brokers that matter have been silent; `None` without a link to any.
    pub(super) fn note(&mut self, silence: Option<Duration>) {
        let now = Instant::now();
        let heard_at = silence.and_then(|silence| now.checked_sub(silence)).max(self.heard_at);
        // What was never heard was reached by others.
        let heard_at = *self.heard_at.insert(heard_at.unwrap_or(now));
        let silence = now.saturating_duration_since(heard_at);
        if silence >= self.heartbeat.saturating_add(SILENCE) {
            self.doubt();
            let since = *self.silent_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= TELL {
                let servers = &self.servers;
                self.tell(unreachable(format!("Kafka at {servers} is silent for {silence:.0?}")));
            }
        } else if self.doubted_since.is_none_or(|since| heard_at > since) {
            self.is_well();
        }
    }

    /// While in doubt, asks for a sign of life; returns when there was none for too long. Cancel
    /// safe.
    pub(super) async fn check(&mut self, client: &Arc<Client>) -> BrokerError {
        while let Some(since) = self.doubted_since {
            let asking = self.asking.get_or_insert_with(|| ask(client, &self.topic));
            let answer = asking.await;
            self.asking = None;
            let (servers, trouble) = (&self.servers, &client.context().trouble);
            match answer {
                // Whoever answered may be one that does not matter.
                Ok(()) if self.silent_since.is_some() => self.doubted_since = None,
                Ok(()) => self.is_well(),
                Err(_) if since.elapsed() >= self.patience => {
                    let patience = self.patience;
                    return trouble.error(&format!("reach Kafka at {servers} for {patience:?}"));
                }
                Err(_) if since.elapsed() >= TELL => {
                    let error = trouble.error(&format!("reach Kafka at {servers}"));
                    self.tell(error);
                }
                Err(_) => {}
            }
        }
        pending().await
    }

    fn tell(&mut self, error: BrokerError) {
        if !std::mem::replace(&mut self.is_away, true) {
            self.mailbox.put(Notice::Away(error));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn health() -> (Health, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(&Arc::default()));
        let (servers, topic) = ("one:9092".to_owned(), "orders".to_owned());
        (Health::new(45 * SECOND, 3 * SECOND, servers, topic, Arc::clone(&mailbox)), mailbox)
    }

    /// What was told after so many seconds in which nobody was heard.
    async fn silent_for(seconds: u32, health: &mut Health, mailbox: &Mailbox) -> Vec<&'static str> {
        for _ in 0..seconds {
            tokio::time::advance(SECOND).await;
            health.note(None);
        }
        told(mailbox)
    }

    fn told(mailbox: &Mailbox) -> Vec<&'static str> {
        let word = |notice: Notice| match notice {
            Notice::Away(_) => "away",
            Notice::Back => "back",
            _ => "something else",
        };
        mailbox.take().into_iter().map(word).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn brokers_that_say_nothing_for_two_heartbeats_are_away_and_that_is_told_once() {
        let (mut health, mailbox) = health();
        health.note(Some(Duration::ZERO));
        assert!(silent_for(5, &mut health, &mailbox).await.is_empty());
        assert_eq!(silent_for(1, &mut health, &mailbox).await, ["away"]);
        assert!(silent_for(60, &mut health, &mailbox).await.is_empty());
        health.note(Some(Duration::ZERO));
        assert_eq!(told(&mailbox), ["back"]);
        health.note(Some(Duration::ZERO));
        assert!(told(&mailbox).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_that_is_answered_is_enough() {
        let (mut health, mailbox) = health();
        for _ in 0..60 {
            tokio::time::advance(SECOND).await;
            health.note(Some(3 * SECOND));
        }
        assert!(told(&mailbox).is_empty());
    }

    /// It finds all brokers silent, and has not read yet what they said.
    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_frozen_itself_takes_nobody_for_away() {
        let (mut health, mailbox) = health();
        health.note(Some(Duration::ZERO));
        tokio::time::advance(60 * SECOND).await;
        health.note(Some(60 * SECOND));
        tokio::time::advance(SECOND).await;
        health.note(Some(Duration::ZERO));
        assert!(silent_for(3, &mut health, &mailbox).await.is_empty());
    }

    /// They were heard just before that.
    #[tokio::test(start_paused = true)]
    async fn what_was_heard_before_all_brokers_were_lost_is_no_sign_that_they_are_back() {
        let (mut health, mailbox) = health();
        health.note(Some(Duration::ZERO));
        tokio::time::advance(SECOND).await;
        health.doubt();
        health.note(Some(2 * SECOND));
        assert!(health.doubted_since.is_some());
        tokio::time::advance(SECOND).await;
        health.note(Some(Duration::ZERO));
        assert!(health.doubted_since.is_none());
        assert!(told(&mailbox).is_empty());
    }
}
