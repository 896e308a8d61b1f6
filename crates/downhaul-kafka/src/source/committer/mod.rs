//! [`Committer`]: how what was finished is committed. The one place that knows of two ways.

mod plain;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use rdkafka::TopicPartitionList;
use tokio::time::timeout;

use crate::error::unreachable;
use crate::source::callbacks::Client;
use crate::source::committer::plain::Plain;
use crate::source::committer::rounds::Rounds;
use crate::source::keeper::Outcome;
use crate::source::kept::Kept;
use crate::source::mailbox::Tenure;
use crate::transactions::{TransactionalProducer, Transactions};

/// How long the last commit may take before the group is left without.
const LAST_COMMIT: Duration = Duration::from_secs(10);

pub(super) enum Committer {
    /// Offsets alone. What was published went its own way before.
    Plain(Plain),
    /// Offsets together with what their messages lead to.
    Transactional(Rounds),
}

/// What came of what was begun.
pub(super) struct Ended {
    /// What the broker has, where that was not noted before.
    pub(super) committed: Option<TopicPartitionList>,
    /// Whether it is to be begun again at once.
    pub(super) is_more_wanted: bool,
}

impl Committer {
    /// Of a source that shares a producer of transactions among its memberships, if it has one.
    pub(super) fn new(
        transactions: Option<&Arc<Transactions>>,
        producer: Option<&Arc<TransactionalProducer>>,
    ) -> Self {
        match transactions.zip(producer) {
            Some((transactions, producer)) => {
                Self::Transactional(Rounds::new(transactions, producer))
            }
            None => Self::Plain(Plain::default()),
        }
    }

    /// Hears of a partition before anything of it is delivered.
    pub(super) fn assigned(&self, new: &Arc<Tenure>) {
        if let Self::Transactional(rounds) = self {
            rounds.assigned(new);
        }
    }

    /// Begins to commit what was finished; whether that succeeds is seen later. Returns whether it
    /// has made room for more to be read.
    pub(super) fn begin<'a>(
        &mut self,
        client: &Arc<Client>,
        lanes: impl IntoIterator<Item = &'a mut Kept>,
    ) -> bool {
        match self {
            Self::Plain(plain) => {
                plain.begin(client, lanes.into_iter().map(|kept| &*kept));
                false
            }
            Self::Transactional(rounds) => rounds.begin(client, lanes),
        }
    }

    /// Commits what was finished, and waits for the answer, for a while. Nothing is left half done
    /// if this is dropped.
    ///
    /// # Errors
    ///
    /// Not all of it is known to be committed.
    pub(super) async fn finish(&mut self, client: &Arc<Client>, lanes: &mut [Kept]) -> Outcome {
        let finished = match self {
            Self::Plain(plain) => timeout(LAST_COMMIT, plain.finish(client, lanes)).await,
            Self::Transactional(rounds) => {
                let finished = timeout(LAST_COMMIT, rounds.finish(client, lanes)).await;
                if finished.is_err() {
                    rounds.give_up();
                }
                finished
            }
        };
        finished.unwrap_or_else(|_| Err(unreachable("no answer to the last commit")))
    }

    /// Waits for the end of what was begun. Cancel safe.
    ///
    /// # Errors
    ///
    /// Nothing more can be committed.
    pub(super) async fn next(&mut self) -> Result<Ended, BrokerError> {
        match self {
            Self::Plain(plain) => plain.next().await,
            Self::Transactional(rounds) => rounds.next().await,
        }
    }
}
