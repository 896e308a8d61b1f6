//! [`Link`]: one connection, made when it is needed and made anew when it is dead, and [`Line`]: a
//! channel on it.
//!
//! lapin's own recovery is off. It does not say when a link is lost, gives up for good after some
//! attempts, and hides which deliveries and confirms belong to the past.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::attempts::Attempts;
use crate::error::{cannot, closed, code, gone};
use crate::options::Options;

/// How often a line is looked at while nothing else would tell of its end. lapin has events, but
/// none when the broker closes a connection with a code that is no error.
const LOOK: Duration = Duration::from_millis(250);

const LOST: &str = "the connection to RabbitMQ was lost";

/// What a connection is for. RabbitMQ blocks connections that publish when it runs short of memory
/// or disk, and lapin then writes nothing to them, not even an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Consume,
    Publish,
}

#[derive(Debug)]
pub(crate) struct Link {
    role: Role,
    /// Held while connecting, so that all who wait share one attempt.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open { connection: Option<Arc<Connection>>, attempts: Attempts },
    Closed,
}

impl Link {
    pub(crate) fn new(role: Role) -> Self {
        let state = State::Open { connection: None, attempts: Attempts::default() };
        Self { role, state: Mutex::new(state) }
    }

    /// A new channel, on a new connection if there is none that lives.
    pub(crate) async fn line(
        &self,
        address: &Address,
        options: &Options,
    ) -> Result<Line, BrokerError> {
        let connection = self.connection(address, options).await?;
        let channel = create_channel(&connection).await?;
        Ok(Line { connection, channel })
    }

    async fn connection(
        &self,
        address: &Address,
        options: &Options,
    ) -> Result<Arc<Connection>, BrokerError> {
        let mut state = self.state.lock().await;
        let State::Open { connection, attempts } = &mut *state else {
            return Err(closed("the broker"));
        };
        if let Some(connection) = connection.as_ref().filter(|open| open.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        let fresh = Arc::new(connect(attempts, self.role, address, options).await?);
        *connection = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Closes the connection for good.
    pub(crate) async fn close(&self) {
        let mut state = self.state.lock().await;
        let before = std::mem::replace(&mut *state, State::Closed);
        drop(state);
        if let State::Open { connection: Some(connection), .. } = before {
            // A connection that is dead already is closed as well.
            let _ = connection.close(200, "OK".into()).await;
        }
    }
}

/// As with [`Line::answer`].
async fn create_channel(connection: &Connection) -> Result<Channel, BrokerError> {
    let lost = async {
        while connection.status().connected() {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        channel = connection.create_channel() => {
            channel.map_err(|error| cannot("open a channel", &error))
        }
        () = lost => Err(gone(LOST)),
    }
}

async fn connect(
    attempts: &mut Attempts,
    role: Role,
    address: &Address,
    options: &Options,
) -> Result<Connection, BrokerError> {
    let name = match role {
        Role::Consume => format!("{}-consume", options.connection_name),
        Role::Publish => format!("{}-publish", options.connection_name),
    };
    let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
    let limit = address.connect_timeout().unwrap_or(options.connect_timeout);
    // The handshake as well, which lapin itself waits for without an end.
    match timeout(limit, attempts.connect(address.uri(), &properties)).await {
        Ok(Ok(connection)) => {
            tracing::info!(%address, connection = name, "connected to RabbitMQ");
            Ok(connection)
        }
        Ok(Err(error)) => Err(not_connected(address, &error)),
        Err(_) => Err(gone(format!("RabbitMQ at {address} did not answer within {limit:?}"))),
    }
}

fn not_connected(address: &Address, error: &lapin::Error) -> BrokerError {
    let words = match code(error) {
        Some(403) => "check the user and the password of the URL".to_owned(),
        Some(530) => format!(
            "check the vhost `{}` of the URL, where `/` is written `/%2f` or left out",
            address.vhost()
        ),
        _ => return cannot(&format!("connect to RabbitMQ at {address}"), error),
    };
    let words = format!("RabbitMQ at {address} refused the connection: {words}");
    BrokerError::new(BrokerErrorKind::Configuration, words).with_source(error.to_string())
}

/// A channel with the connection that it is on. Clones are of the same channel.
#[derive(Clone)]
pub(crate) struct Line {
    connection: Arc<Connection>,
    pub(crate) channel: Channel,
}

impl Line {
    /// Another channel on the same connection.
    pub(crate) async fn sibling(&self) -> Result<Channel, BrokerError> {
        create_channel(&self.connection).await
    }

    /// The largest frame that both sides have agreed on, in bytes.
    pub(crate) fn frame_max(&self) -> usize {
        usize::try_from(self.connection.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        // The connection first: its channels hear of its end a moment later.
        if !self.connection.status().connected() {
            return Err(gone(LOST));
        }
        if !self.channel.status().connected() {
            return Err(gone("RabbitMQ closed the channel"));
        }
        Ok(())
    }

    /// Waits until the line is dead.
    pub(crate) async fn broken(&self) -> BrokerError {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            sleep(LOOK).await;
        }
    }

    /// What the broker answers, or the end of the line. lapin answers whoever waits when a link is
    /// lost, and who asks at that very moment waits for ever.
    pub(crate) async fn answer<T>(
        &self,
        asking: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        tokio::select! {
            biased;
            answer = asking => answer,
            error = self.broken() => Err(error),
        }
    }

    /// Waits while the broker, short of memory or disk, takes no publishes.
    pub(crate) async fn unblocked(&self) -> Result<(), BrokerError> {
        loop {
            self.check()?;
            if !self.connection.status().blocked() {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Closes the channel: when this returns, the broker has seen all that was written to it.
    pub(crate) async fn close(&self) -> Result<(), lapin::Error> {
        self.channel.close(200, "OK".into()).await
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}
