//! [`Link`]: one connection, made when it is needed and made anew when it is dead, and [`Line`]: a
//! channel on it.
//!
//! lapin's own recovery is off. It does not say when a link is lost, gives up for good after some
//! attempts, and hides which deliveries and confirms belong to the past.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use downhaul_consumer::BrokerError;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::attempts::{Attempts, Opened};
use crate::credentials::Credentials;
use crate::error::{SHORT_OF_ROOM, cannot, closed, lost, unreachable};
use crate::nodes::{Nodes, none_of};
use crate::options::Options;
use crate::refresh::Refreshing;

/// How often a line is looked at while nothing else would tell of its end. lapin has events, but
/// none when the broker closes a connection with a code that is no error.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// How long to wait at most before a lost connection is made anew: those who lost theirs together
/// do not come back together.
const APART: Duration = Duration::from_millis(250);

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
    Open { connection: Option<Arc<Connection>>, connecting: Connecting },
    Closed,
}

/// How a link is made.
#[derive(Debug, Default)]
struct Connecting {
    attempts: Attempts,
    /// Of the nodes, counting on and on.
    turn: usize,
    /// Of the connection that there is.
    refreshing: Option<Refreshing>,
}

impl Role {
    fn connection_name(self, options: &Options) -> String {
        let end = match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
        };
        format!("{}-{end}", options.connection_name)
    }
}

impl Link {
    pub(crate) fn new(role: Role) -> Self {
        let state = State::Open { connection: None, connecting: Connecting::default() };
        Self { role, state: Mutex::new(state) }
    }

    /// A new channel, on a new connection if there is none that lives.
    pub(crate) async fn line(&self, nodes: &Nodes, options: &Options) -> Result<Line, BrokerError> {
        let connection = self.connection(nodes, options).await?;
        let channel = create_channel(&connection).await?;
        Ok(Line { connection, channel, is_told_blocked: Arc::default() })
    }

    async fn connection(
        &self,
        nodes: &Nodes,
        options: &Options,
    ) -> Result<Arc<Connection>, BrokerError> {
        let mut state = self.state.lock().await;
        let State::Open { connection, connecting } = &mut *state else {
            return Err(closed("the broker"));
        };
        if let Some(connection) = connection.as_ref().filter(|open| open.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        if connection.take().is_some() {
            sleep(APART.mul_f64(fastrand::f64())).await;
        }
        let fresh = connect(connecting, self.role, nodes, options).await?;
        *connection = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Whether there is a connection from which the broker, short of memory or disk, takes nothing.
    pub(crate) fn is_blocked(&self) -> bool {
        // Else it is being made.
        let Ok(state) = self.state.try_lock() else { return false };
        match &*state {
            State::Open { connection: Some(connection), .. } => connection.status().blocked(),
            State::Open { connection: None, .. } | State::Closed => false,
        }
    }

    /// Closes the connection for good.
    pub(crate) async fn close(&self) {
        let mut state = self.state.lock().await;
        let before = std::mem::replace(&mut *state, State::Closed);
        drop(state);
        if let State::Open { connection: Some(connection), .. } = before {
            tokio::select! {
                // A connection that is dead already is closed as well.
                _ = connection.close(200, "OK".into()) => {}
                () = blocked(&connection) => {}
            }
        }
    }
}

/// Waits until the broker takes nothing from a connection. It does not answer then, either.
async fn blocked(connection: &Connection) {
    while !connection.status().blocked() {
        sleep(LOOK).await;
    }
}

/// As with [`Line::answer`].
async fn create_channel(connection: &Connection) -> Result<Channel, BrokerError> {
    tokio::select! {
        biased;
        channel = connection.create_channel() => {
            channel.map_err(|error| cannot("open a channel", &error))
        }
        error = ended(connection) => Err(error),
    }
}

/// Waits until a connection is dead.
async fn ended(connection: &Connection) -> BrokerError {
    while connection.status().connected() {
        sleep(LOOK).await;
    }
    unreachable(LOST)
}

/// Tries each node once, beginning with the one whose turn it is.
async fn connect(
    state: &mut Connecting,
    role: Role,
    nodes: &Nodes,
    options: &Options,
) -> Result<Arc<Connection>, BrokerError> {
    let mut faults = Vec::new();
    for _ in 0..nodes.len() {
        // First of all: whoever does not wait for the end tries another node next time.
        let turn = state.turn;
        state.turn = state.turn.wrapping_add(1);
        match connect_to(&mut state.attempts, role, nodes.at(turn), options).await {
            Ok(opened) => {
                let (connection, refreshing) = welcome(opened, role, nodes, options);
                state.refreshing = refreshing;
                return Ok(connection);
            }
            Err(error) => faults.push(error),
        }
    }
    Err(none_of(faults))
}

async fn connect_to(
    attempts: &mut Attempts,
    role: Role,
    (node, address): (usize, &Address),
    options: &Options,
) -> Result<Opened, BrokerError> {
    let name = role.connection_name(options);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let attempt = || {
        let (address, provider) = (address.clone(), options.credentials.clone());
        let properties = properties.clone();
        async move {
            let credentials = match provider {
                Some(provider) => Some(provider.ask().await?),
                None => None,
            };
            // From now on, and not from when the broker has answered.
            let lease = credentials.as_ref().and_then(Credentials::lease);
            let connection = address.connect(credentials, properties).await?;
            Ok(Opened { connection, node, lease })
        }
    };
    let limit = address.connect_timeout().unwrap_or(options.connect_timeout);
    // The handshake as well, which lapin itself waits for without an end.
    timeout(limit, attempts.connect(node, attempt)).await.unwrap_or_else(|_| {
        Err(unreachable(format!("RabbitMQ at {address} did not answer within {limit:?}")))
    })
}

fn welcome(
    opened: Opened,
    role: Role,
    nodes: &Nodes,
    options: &Options,
) -> (Arc<Connection>, Option<Refreshing>) {
    let Opened { connection, node, lease } = opened;
    let (connection, (_, address)) = (Arc::new(connection), nodes.at(node));
    options.largest.forget();
    // Of no request, though one may have been the first to need it.
    let name = role.connection_name(options);
    tracing::info!(parent: None, %address, connection = name, "connected to RabbitMQ");
    let refreshing = lease
        .zip(options.credentials.clone())
        .map(|(lease, provider)| Refreshing::start(Arc::downgrade(&connection), provider, lease));
    (connection, refreshing)
}

/// A channel with the connection that it is on. Clones are of the same channel.
#[derive(Clone)]
pub(crate) struct Line {
    connection: Arc<Connection>,
    pub(crate) channel: Channel,
    /// Whether it was told that the broker takes no publishes.
    is_told_blocked: Arc<AtomicBool>,
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
            return Err(unreachable(LOST));
        }
        if !self.channel.status().connected() {
            return Err(unreachable("RabbitMQ closed the channel"));
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

    /// Whether the broker, short of memory or disk, takes no publishes.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Waits while it is blocked.
    pub(crate) async fn unblocked(&self) -> Result<(), BrokerError> {
        loop {
            self.check()?;
            if !self.is_blocked() {
                self.tell_open();
                return Ok(());
            }
            self.tell_blocked();
            sleep(LOOK).await;
        }
    }

    /// Says once that nothing is published, however many wait, and once that it goes on.
    fn tell_blocked(&self) {
        if !self.is_told_blocked.swap(true, Ordering::Relaxed) {
            tracing::warn!(parent: None, "{SHORT_OF_ROOM}");
        }
    }

    pub(crate) fn tell_open(&self) {
        if self.is_told_blocked.load(Ordering::Relaxed)
            && self.is_told_blocked.swap(false, Ordering::Relaxed)
        {
            tracing::info!(parent: None, "RabbitMQ takes publishes again");
        }
    }

    /// Closes the channel: when this returns, the broker has seen all that was written to it. Like
    /// [`answer`](Self::answer), which would take the channel for dead while it is being closed.
    pub(crate) async fn close(&self) -> Result<(), BrokerError> {
        tokio::select! {
            biased;
            closed = self.channel.close(200, "OK".into()) => {
                closed.map_err(|error| lost("the channel", &error))
            }
            error = ended(&self.connection) => Err(error),
        }
    }

    /// The same for a line on which nothing has to arrive any more: a broker that is short is not
    /// waited for.
    pub(crate) async fn leave(&self) {
        tokio::select! {
            _ = self.close() => {}
            () = blocked(&self.connection) => {}
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}
