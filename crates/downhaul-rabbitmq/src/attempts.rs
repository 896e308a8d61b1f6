//! [`Attempts`]: connecting, as often as it takes, without leaving a trail.
//!
//! lapin cannot be told to give up: an attempt at a frozen broker has a thread and a socket until
//! the broker goes on or its machine drops the link. So an attempt is kept and not dropped when
//! somebody has waited long enough for it. There are only so many, and whichever succeeds counts.

use std::time::Duration;

use downhaul_consumer::BrokerError;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::Connection;

/// At one node. More than one, since a link that was cut in silence never answers, and a fresh one
/// may.
const MOST: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    under_way: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// The node of each that is under way, by its number.
    nodes: Vec<(u64, usize)>,
    newest: u64,
}

/// A connection, and how long its credentials hold.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) node: usize,
    pub(crate) valid_for: Option<Duration>,
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
            if self.at(node).count() < MOST {
                self.begin(node, attempt());
            }
            let newest = self.at(node).max();
            while let Some((number, outcome)) = self.under_way.next().await {
                self.nodes.retain(|(under_way, _)| *under_way != number);
                match outcome {
                    Ok(opened) if opened.connection.status().connected() => {
                        self.under_way.clear();
                        self.nodes.clear();
                        return Ok(opened);
                    }
                    Err(error) if Some(number) == newest => return Err(error),
                    Ok(_) if Some(number) == newest => break,
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    /// The numbers of what is under way at a node.
    fn at(&self, node: usize) -> impl Iterator<Item = u64> {
        let here = move |(number, at): &(u64, usize)| (*at == node).then_some(*number);
        self.nodes.iter().filter_map(here)
    }

    fn begin(
        &mut self,
        node: usize,
        attempt: impl Future<Output = Result<Opened, BrokerError>> + Send + 'static,
    ) {
        self.newest += 1;
        let number = self.newest;
        self.nodes.push((number, node));
        self.under_way.push(async move { (number, attempt.await) }.boxed());
    }
}
