//! A TCP proxy between a client and a real broker that breaks their link in every way a network
//! does: at once, in silence, slowly, or in the middle of a frame.
//!
//! What holds:
//!
//! 1. No byte is lost, added or reordered while a connection lives. What is held back in a
//!    [blackhole](Proxy::blackhole) passes when it heals, as it does when a network comes back
//!    before anyone has given up.
//! 2. While a direction is a blackhole, the end of a connection does not pass in it either.
//! 3. Faults of both directions and all connections are independent of each other.
//! 4. Nothing outlives the proxy: dropping it ends its connections and frees its port.
//!
//! # Examples
//!
//! ```
//! use downhaul_testkit::proxy::{Cut, Direction, Proxy};
//! use tokio::io::AsyncReadExt;
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let broker = TcpListener::bind("127.0.0.1:0").await?;
//! let proxy = Proxy::start(broker.local_addr()?)?;
//!
//! let mut client = TcpStream::connect(proxy.address()).await?;
//! let (_connection, _) = broker.accept().await?;
//! proxy.cut(Cut::Finish);
//! assert_eq!(client.read(&mut [0; 1]).await?, 0);
//!
//! proxy.refuse();
//! assert!(TcpStream::connect(proxy.address()).await.is_err());
//! proxy.heal();
//! proxy.blackhole(Direction::ToClient);
//! assert!(TcpStream::connect(proxy.address()).await.is_ok());
//! # Ok(())
//! # }
//! ```

mod counts;
mod door;
mod lane;
mod link;
mod weather;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use self::counts::{Counts, Traffic};
use self::door::Door;
use self::link::Link;
use self::weather::Weather;
pub use self::weather::{Cut, Direction};

/// A proxy that listens on a port of its own on 127.0.0.1. Dropping it ends all of its connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    door: Door,
    weather: watch::Sender<Weather>,
    counts: watch::Sender<Counts>,
}

impl Proxy {
    /// Starts a proxy to `upstream`, which need not be there yet.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let (weather, counts) = (watch::Sender::default(), watch::Sender::default());
        let shared = Arc::new(Shared { upstream, door: Door::open()?, weather, counts });
        let serving = tokio::spawn(serve(Arc::clone(&shared)));
        Ok(Self { shared, serving })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.shared.door.address()
    }

    /// Ends all connections that are open. New ones are made as before.
    pub fn cut(&self, how: Cut) {
        self.shared.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.how = how;
        });
    }

    /// Holds everything back that goes in `direction`, on all connections and on new ones. Nobody
    /// is told.
    pub fn blackhole(&self, direction: Direction) {
        self.lanes(direction, |lane| lane.blackhole = true);
    }

    /// Lets what goes in `direction` arrive so much later. What is on its way when this heals
    /// arrives when it would have.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.lanes(direction, |lane| lane.delay = delay);
    }

    /// Lets no more bytes a second of each connection pass in `direction`.
    pub fn throttle(&self, direction: Direction, bytes_per_second: NonZeroU32) {
        self.lanes(direction, |lane| lane.rate = Some(bytes_per_second));
    }

    /// Lets so many more bytes pass in `direction`, and ends the connection of the byte after them
    /// (as [`Cut::Finish`] does, so that they arrive). Other connections go on, and the fault is
    /// over.
    pub fn half_frame(&self, direction: Direction, bytes: u64) {
        self.lanes(direction, |lane| lane.left = Some(bytes));
    }

    /// Takes no new connections: the system answers them with a reset. Those that are open go on.
    pub fn refuse(&self) {
        self.shared.door.close();
    }

    /// Ends every fault. What was held back passes.
    ///
    /// # Panics
    ///
    /// If the port cannot be listened at again.
    pub fn heal(&self) {
        self.shared.weather.send_modify(Weather::heal);
        if let Err(error) = self.shared.door.reopen() {
            panic!("the proxy cannot listen at {} again: {error}", self.address());
        }
    }

    /// What has passed so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until the counts are as wanted, and returns them. Cancel safe.
    pub async fn until(&self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts.subscribe();
        // The sender is ours, so that the channel never closes.
        counts.wait_for(wanted).await.map_or_else(|_| self.counts(), |counts| *counts)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Counts> {
        self.shared.counts.subscribe()
    }

    fn lanes(&self, direction: Direction, change: impl Fn(&mut weather::Lane)) {
        self.shared.weather.send_modify(|weather| weather.lanes(direction).for_each(&change));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.door.close();
        self.serving.abort();
    }
}

/// Runs until it is aborted, and its connections with it.
async fn serve(shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            client = shared.door.accept() => {
                // Before anything else can happen: a later cut is for this one, too.
                let link = Link::new(&shared);
                links.spawn(link.run(client));
            }
            Some(_) = links.join_next() => {}
        }
    }
}
