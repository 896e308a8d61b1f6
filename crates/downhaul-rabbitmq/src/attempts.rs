//! [`Attempts`]: connecting, as often as it takes, without leaving a trail.
//!
//! lapin cannot be told to give up: an attempt at a frozen broker has a thread and a socket until
//! the broker goes on or its machine drops the link. So an attempt is kept and not dropped when
//! somebody has waited long enough for it. There are only so many, and whichever succeeds counts.

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

/// More than one, since a link that was cut in silence never answers, and a fresh one may.
const MOST: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    under_way: FuturesUnordered<BoxFuture<'static, Outcome>>,
    newest: u64,
}

/// An attempt's number and what came of it.
type Outcome = (u64, lapin::Result<Connection>);

impl Attempts {
    /// Waits for a connection, from now or from earlier. Cancel safe.
    ///
    /// # Errors
    ///
    /// The newest attempt has failed. That older ones fail says nothing of the broker as it is now.
    pub(crate) async fn connect(
        &mut self,
        uri: &AMQPUri,
        properties: &ConnectionProperties,
    ) -> lapin::Result<Connection> {
        loop {
            if self.under_way.len() < MOST {
                self.begin(uri.clone(), properties.clone());
            }
            while let Some((number, outcome)) = self.under_way.next().await {
                match outcome {
                    Ok(connection) if connection.status().connected() => {
                        self.under_way.clear();
                        return Ok(connection);
                    }
                    Err(error) if number == self.newest => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    fn begin(&mut self, uri: AMQPUri, properties: ConnectionProperties) {
        self.newest += 1;
        let number = self.newest;
        let attempt = async move { (number, Connection::connect_uri(uri, properties).await) };
        self.under_way.push(attempt.boxed());
    }
}
