//! An outbox in memory, which a test may take away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::Instant;
use downhaul::consumer::outbox::{Backlog, Fate, Outbox, Row, RowTicket};
use downhaul::consumer::{Message, Outgoing, StoreError, StoreErrorKind};
use tokio::sync::Notify;

/// How the outbox is: there, away with errors of a kind, or so that its caller panics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Is {
    There,
    Away(StoreErrorKind),
    Broken,
}

#[derive(Debug)]
pub(crate) struct Rows {
    /// With when they came and whether they are claimed.
    rows: Mutex<Vec<(Row, Instant, bool)>>,
    news: Notify,
    is: Mutex<Is>,
}

impl Rows {
    pub(crate) fn new() -> Arc<Self> {
        let (rows, news, is) = (Mutex::default(), Notify::new(), Mutex::new(Is::There));
        Arc::new(Self { rows, news, is })
    }

    pub(crate) fn set(&self, is: Is) {
        *self.is.lock().unwrap() = is;
    }

    /// Puts a message for the topic `t` there, as the next of these numbers.
    pub(crate) fn put(&self, number: u64) {
        let outgoing = Outgoing::to_topic("t", Message::new("").with_id(number.to_string()));
        let row = Row::new(RowTicket { number, claim: 1 }, None, outgoing);
        self.rows.lock().unwrap().push((row, Instant::now(), false));
        self.news.notify_one();
    }

    fn there(&self) -> Result<(), StoreError> {
        let is = *self.is.lock().unwrap();
        match is {
            Is::There => Ok(()),
            Is::Away(kind) => Err(StoreError::new(kind, "no disk")),
            Is::Broken => panic!("planted"),
        }
    }
}

#[async_trait]
impl Outbox for Rows {
    async fn claim(&self, limit: usize, _lease: Duration) -> Result<Vec<Row>, StoreError> {
        self.there()?;
        let mut rows = self.rows.lock().unwrap();
        let free = rows.iter_mut().filter(|(_, _, is_claimed)| !is_claimed).take(limit);
        Ok(free.map(|(row, _, is_claimed)| (*is_claimed = true, row.clone()).1).collect())
    }

    async fn settle(&self, fates: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        self.there()?;
        let mut rows = self.rows.lock().unwrap();
        for (ticket, fate) in fates {
            match fate {
                Fate::Confirmed | Fate::Dead { .. } => rows.retain(|row| row.0.ticket != *ticket),
                Fate::Retry { .. } | Fate::Released => {
                    let mine = rows.iter_mut().filter(|row| row.0.ticket == *ticket);
                    mine.for_each(|row| row.2 = false);
                }
            }
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.there()?;
        let rows = self.rows.lock().unwrap();
        let claimed = rows.iter().filter(|(_, _, is_claimed)| *is_claimed).count();
        let [claimed, all] = [claimed, rows.len()].map(|count| u64::try_from(count).unwrap());
        let oldest = rows.first().map(|(_, since, _)| since.elapsed());
        Ok(Backlog::new(all - claimed, claimed, 0, oldest))
    }

    async fn news(&self) {
        self.news.notified().await;
    }
}
