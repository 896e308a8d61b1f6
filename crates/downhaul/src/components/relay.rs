//! [`RelayWorker`]: the relay of an outbox as a component.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::outbox::{Outage, Relay, RelayHandle, RelaySnapshot};
use downhaul_context::Context;

use super::task::Task;
use crate::component::{Component, Ended};
use crate::error::BoxError;

/// Publishes what is in an outbox.
///
/// It has started when the outbox answers. Told to stop, it takes nothing more, finishes what it
/// has in hand, and says what is left for its next start or for other instances. While the broker
/// is away that takes as long as a try may, 10 s unless
/// [`confirm_budget`](Relay::confirm_budget) says otherwise, and what it had in hand is given back.
///
/// The service is ready and degraded while the broker is away, since requests go on: that is what
/// an outbox is for.
///
/// It is to need the [`BrokerLink`](crate::BrokerLink). What writes into the outbox is best made to
/// need the relay: it stops before it then, and what it has written last goes out. It can be
/// started again.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use std::sync::Arc;
///
/// use downhaul::consumer::outbox::{Relay, SqliteOutbox};
/// use downhaul::consumer::{MemoryBroker, Publisher};
/// use downhaul::testing::TestApp;
/// use downhaul::{App, BrokerLink, MessageSpans, RelayWorker};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shop.db");
/// let outbox = Arc::new(SqliteOutbox::open(&path).await?);
/// let broker = Arc::new(MemoryBroker::new());
/// let publisher = Publisher::with_observer(broker.clone(), Arc::new(MessageSpans));
///
/// let mut app = App::new("shop");
/// let link = app.add("broker", BrokerLink::new(broker, publisher.clone()), []);
/// app.add("outbox", RelayWorker::new(Relay::new(outbox, publisher)), [link]);
///
/// let report = TestApp::start(app).await.stop().await;
/// assert_eq!(report.component("outbox").words, "0 messages published, 0 left in the outbox");
/// # Ok(())
/// # }
/// # }
/// # #[cfg(feature = "sqlite")] example::main().unwrap();
/// ```
#[derive(Debug)]
pub struct RelayWorker {
    task: Task,
    handle: RelayHandle,
    ready_with_outbox: bool,
}

impl RelayWorker {
    /// Makes a component of a relay. Its publisher is to be made with an observer, such as
    /// [`MessageSpans`](crate::MessageSpans), if what it publishes is to have spans and metrics.
    pub fn new(relay: Relay) -> Self {
        let (handle, relay) = (relay.handle(), Arc::new(relay));
        let task = Task::new(move |ctx| {
            let relay = Arc::clone(&relay);
            async move {
                relay.run(&ctx).await;
                Ok::<_, Infallible>(())
            }
        });
        let (said, unfinished) = (handle.clone(), handle.clone());
        let task = task
            .last_words(move || Words(said.snapshot()).to_string())
            .unfinished(move || in_hand(&unfinished.snapshot()));
        Self { task, handle, ready_with_outbox: false }
    }

    /// The service is not ready while the outbox cannot be reached.
    ///
    /// Without this, it is ready and degraded then: a database that many instances share is lost to
    /// all of them at once, and taking them all out of service helps nobody. What is asked of it
    /// fails one by one.
    #[must_use]
    pub fn ready_with_outbox(mut self) -> Self {
        self.ready_with_outbox = true;
        self
    }

    fn lost_outbox(&self) -> Option<String> {
        let Outage { since, error, .. } = self.handle.snapshot().store_fault?;
        Some(format!("the outbox cannot be reached for {}: {error}", Seconds(since.elapsed())))
    }

    /// That nothing comes through to the broker, and how much waits for that.
    fn stalled(&self) -> Option<String> {
        let RelaySnapshot { stall, backlog, .. } = self.handle.snapshot();
        let Outage { since, error, .. } = stall?;
        let mut words =
            format!("nothing of the outbox gets through for {}", Seconds(since.elapsed()));
        if let Some(backlog) = backlog {
            words += &format!(", {} wait", Messages(backlog.unpublished()));
            let oldest = backlog.oldest.map(|age| format!(", the oldest for {}", Seconds(age)));
            words += &oldest.unwrap_or_default();
        }
        Some(format!("{words}: {error}"))
    }
}

#[async_trait]
impl Component for RelayWorker {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        self.task.start(ctx).await?;
        let for_good = |fault: &Outage| fault.is_permanent;
        let begun =
            |seen: &RelaySnapshot| seen.reached || seen.store_fault.as_ref().is_some_and(for_good);
        // One that is not there yet is waited for, as long as the app lets a component start.
        tokio::select! {
            ended = self.task.ended() => match ended {
                Ended::Failed(error) => Err(error),
                _ => Ok(()),
            },
            seen = self.handle.wait_for(begun) => match seen.store_fault {
                Some(fault) => Err(format!("the outbox cannot be used: {}", fault.error).into()),
                None => Ok(()),
            },
        }
    }

    async fn stop(&self, ctx: &Context) -> String {
        self.task.stop(ctx).await
    }

    async fn ended(&self) -> Ended {
        self.task.ended().await
    }

    fn can_restart(&self) -> bool {
        true
    }

    fn is_at_work(&self) -> bool {
        self.task.is_at_work()
    }

    fn not_ready(&self) -> Option<String> {
        self.lost_outbox().filter(|_| self.ready_with_outbox)
    }

    fn degraded(&self) -> Option<String> {
        let lost_outbox = self.lost_outbox().filter(|_| !self.ready_with_outbox);
        lost_outbox.or_else(|| self.stalled())
    }

    fn in_flight(&self) -> Vec<String> {
        self.task.in_flight()
    }

    fn relay(&self) -> Option<RelayHandle> {
        Some(self.handle.clone())
    }
}

/// What it has on its way to the broker.
fn in_hand(seen: &RelaySnapshot) -> Vec<String> {
    let count = u64::try_from(seen.in_hand).unwrap_or(u64::MAX);
    let line = format!("{} of the outbox on the way to the broker", Messages(count));
    (count > 0).then_some(line).into_iter().collect()
}

/// What it did, in words: besides what was published and what is left, only what there was.
struct Words(RelaySnapshot);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RelaySnapshot { published, failed, given_up, backlog, .. } = &self.0;
        write!(f, "{} published", Messages(*published))?;
        let others = [(*failed, "tries failed"), (*given_up, "given up")];
        let mut there = others.into_iter().filter(|(count, _)| *count > 0);
        there.try_for_each(|(count, what)| write!(f, ", {count} {what}"))?;
        let left = backlog.map(|backlog| backlog.unpublished());
        left.into_iter().try_for_each(|left| write!(f, ", {left} left in the outbox"))
    }
}

/// So many messages.
struct Messages(u64);

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} message{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// Whole seconds, for people.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}
