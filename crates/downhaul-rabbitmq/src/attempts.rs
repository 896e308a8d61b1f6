//! [`Attempts`]: connecting, as often as it takes, without leaving a trail.
//!
//! lapin cannot be told to give up: an attempt at a frozen broker has a thread and a socket until
//! the broker goes on or its machine drops the link. So an attempt is kept and not dropped when
//! somebody has waited long enough for it. There are only so many, and whichever succeeds counts.

use std::collections::HashMap;
use std::sync::Arc;

use downhaul_consumer::BrokerError;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::credentials::Lease;

/// At one node. More than one, since a link that was cut in silence never answers, and a fresh one
/// may.
const MOST: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    under_way: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// The number of the newest attempt at each node, as far as it is under way.
    newest: HashMap<usize, u64>,
    /// Each attempt holds a place until lapin has ended it, whoever waits for it.
    places: HashMap<usize, Arc<Semaphore>>,
    numbers: u64,
}

/// A connection, and how long its password holds.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) node: usize,
    pub(crate) lease: Option<Lease>,
}

/// An attempt's number and what came of it.
type Outcome = (u64, Result<Opened, BrokerError>);

impl Attempts {
    /// Waits for a connection, to this node now or to any node from earlier. Cancel safe.
    ///
    /// # Errors
    ///
    /// The newest attempt at this node has failed. That others fail says nothing of it as it is
    /// now.
    pub(crate) async fn connect<A>(
        &mut self,
        node: usize,
        attempt: impl Fn() -> A,
    ) -> Result<Opened, BrokerError>
    where
        A: Future<Output = Result<Opened, BrokerError>> + Send + 'static,
    {
        loop {
            if let Some(place) = self.place(node).await {
                self.begin(node, place, attempt());
            }
            while let Some((number, outcome)) = self.under_way.next().await {
                let is_newest = self.newest.get(&node) == Some(&number);
                self.newest.retain(|_, newest| *newest != number);
                match outcome {
                    Ok(opened) if opened.connection.status().connected() => {
                        self.let_go();
                        return Ok(opened);
                    }
                    Err(error) if is_newest => return Err(error),
                    Ok(_) if is_newest => break,
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    /// A place for one more attempt, if there is one. It is waited for if nothing else can be.
    async fn place(&mut self, node: usize) -> Option<OwnedSemaphorePermit> {
        let places = self.places.entry(node).or_insert_with(|| Arc::new(Semaphore::new(MOST)));
        let places = Arc::clone(places);
        if self.newest.contains_key(&node) {
            return places.try_acquire_owned().ok();
        }
        places.acquire_owned().await.ok()
    }

    fn begin(
        &mut self,
        node: usize,
        place: OwnedSemaphorePermit,
        attempt: impl Future<Output = Result<Opened, BrokerError>> + Send + 'static,
    ) {
        self.numbers += 1;
        let number = self.numbers;
        self.newest.insert(node, number);
        let attempt = async move {
            let outcome = attempt.await;
            drop(place);
            (number, outcome)
        };
        self.under_way.push(attempt.boxed());
    }

    /// Nobody waits any more for what is under way, and what comes of it is dropped.
    fn let_go(&mut self) {
        self.newest.clear();
        let rest = std::mem::take(&mut self.under_way);
        if !rest.is_empty() {
            tokio::spawn(rest.for_each(|_| ready(())));
        }
    }
}
