//! The accept loops, and the watch over the server's context.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use downhaul_context::Context;
use http_body::Body as HttpBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;
use tracing::{debug, warn};

use crate::error::BoxError;
use crate::lifetime::body::Body;
use crate::listen::listener::{Arrival, Listener};
use crate::serve::connection;
use crate::serve::hub::{Hub, Stage, reached};
use crate::serve::link::Link;

/// How long to wait when the system has no file descriptor left for another socket.
const PAUSE: Duration = Duration::from_millis(50);

/// How many clients the system may have greeted when a server stops, as many as tokio lets it. New
/// ones may come as fast as they are accepted.
const QUEUE: usize = 1024;

/// How long answers may take to be written when the context has ended and handlers have had their
/// grace.
const LAST_MOMENT: Duration = Duration::from_millis(250);

/// Accepts, in the background, until the server stops. Closes everything when `ctx` ends.
pub(crate) fn accept<S, B>(listeners: Vec<Listener>, hub: Arc<Hub>, ctx: Context, service: S)
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let links = Arc::clone(&hub);
    let open = move |(arrival, permit): Client| {
        let peer = arrival.peer.clone();
        if !links.admit(peer.ip()) {
            return debug!(%peer, "connection closed: its address has all that it may have");
        }
        let link = Link::open(Arc::clone(&links), peer, arrival.scheme(), permit);
        tokio::spawn(connection::serve(arrival, link, service.clone()));
    };
    let permits = Arc::new(Semaphore::new(hub.limits.connections));
    let mut loops = JoinSet::new();
    for listener in listeners {
        let (hub, ctx, permits) = (Arc::clone(&hub), ctx.clone(), Arc::clone(&permits));
        loops.spawn(listen(listener, hub, ctx, permits, open.clone()));
    }
    tokio::spawn(watch(loops, hub, ctx));
}

/// Waits for the ends of the listeners, and then of the connections, or for that of the context.
async fn watch(mut loops: JoinSet<()>, hub: Arc<Hub>, ctx: Context) {
    while loops.join_next().await.is_some() {}
    hub.closed_listeners();
    let mut stages = hub.stages();
    tokio::select! {
        biased;
        () = reached(&mut stages, Stage::Closed) => {}
        _ = ctx.done() => close_soon(&hub).await,
        () = hub.empty() => {}
    }
}

/// Requests have ended with the context. What they answer is still written.
async fn close_soon(hub: &Hub) {
    hub.raise(Stage::Stopping);
    let last = hub.limits.cancel_grace.saturating_add(LAST_MOMENT);
    let _ = timeout(last, hub.empty()).await;
    hub.raise(Stage::Closed);
}

/// Accepts until the server stops or its context ends, and closes the listener.
async fn listen(
    mut listener: Listener,
    hub: Arc<Hub>,
    ctx: Context,
    permits: Arc<Semaphore>,
    mut open: impl FnMut(Client),
) {
    let mut stages = hub.stages();
    let mut limited = LimitedListener { listener: &mut listener, permits: &permits, arrival: None };
    loop {
        tokio::select! {
            biased;
            () = reached(&mut stages, Stage::Stopping) => break,
            _ = ctx.done() => return,
            accepted = limited.accept() => match accepted {
                Ok(client) => open(client),
                Err(error) => pause_after(error).await,
            }
        }
    }
    let accepted = limited.arrival.take();
    for arrival in accepted.into_iter().chain(listener.greeted()).take(QUEUE) {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { return };
        open((arrival, permit));
    }
}

type Client = (Arrival, OwnedSemaphorePermit);

/// A listener that lets in as many clients as there are permits, which it shares with others.
struct LimitedListener<'a> {
    listener: &'a mut Listener,
    permits: &'a Arc<Semaphore>,
    /// There was a permit when it was accepted, and a client of another listener has it now.
    arrival: Option<Arrival>,
}

impl LimitedListener<'_> {
    /// The next client that has a permit. No permit is held while nobody comes: a client of another
    /// listener may need it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no client is lost.
    async fn accept(&mut self) -> io::Result<Client> {
        if self.arrival.is_none() {
            drop(self.permits.acquire().await.map_err(io::Error::other)?);
            self.arrival = Some(self.listener.accept().await?);
        }
        let permit = Arc::clone(self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let arrival = self.arrival.take();
        arrival.map(|arrival| (arrival, permit)).ok_or_else(|| io::Error::other("nobody is there"))
    }
}

async fn pause_after(error: io::Error) {
    // These are the client's: it is gone before it was greeted.
    let client_gone = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if client_gone.contains(&error.kind()) {
        debug!(%error, "client gone before it was accepted");
        return;
    }
    warn!(%error, "cannot accept; trying again");
    tokio::time::sleep(PAUSE).await;
}
