//! [`Link`]: one connection through the proxy.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Shared;
use super::lane::{Broken, carry};
use super::weather::{Cut, Way, Weather};

pub(super) struct Link {
    shared: Arc<Shared>,
    weather: watch::Receiver<Weather>,
    /// How many cuts there were when it began.
    cuts: u64,
}

impl Link {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.counts.send_modify(|counts| {
            counts.accepted += 1;
            counts.open += 1;
        });
        let weather = shared.weather.subscribe();
        let cuts = weather.borrow().cuts;
        Self { shared: Arc::clone(shared), weather, cuts }
    }

    pub(super) async fn run(mut self, mut client: TcpStream) {
        let shared = Arc::clone(&self.shared);
        let Ok(mut upstream) = TcpStream::connect(shared.upstream).await else {
            // There is nobody: a client of the broker itself would hear that at once as well.
            return drop(reset(&client));
        };
        // A proxy must not make small frames wait for each other.
        let _ = client.set_nodelay(true).and_then(|()| upstream.set_nodelay(true));
        let how = tokio::select! {
            biased;
            how = self.is_cut() => Some(how),
            how = carried(&shared, &mut client, &mut upstream) => how,
        };
        // Over for those who count, while the other sides may still have to hear of it.
        drop(self);
        match how {
            Some(Cut::Finish) => finish(client, upstream).await,
            Some(Cut::Reset) => drop(reset(&client).and_then(|()| reset(&upstream))),
            None => {}
        }
    }

    async fn is_cut(&mut self) -> Cut {
        let cuts = self.cuts;
        let weather = self.weather.wait_for(|weather| weather.cuts > cuts).await;
        let how = weather.map_or_else(|_| Cut::default(), |weather| weather.how);
        self.shared.counts.send_modify(|counts| counts.cut += 1);
        how
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.counts.send_modify(|counts| counts.open -= 1);
    }
}

/// Carries bytes both ways until both sides have ended, which needs nothing more, or until one of
/// them breaks.
async fn carried(shared: &Shared, client: &mut TcpStream, upstream: &mut TcpStream) -> Option<Cut> {
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    let both = tokio::try_join!(
        carry(shared, Way::ToUpstream, from_client, to_upstream),
        carry(shared, Way::ToClient, from_upstream, to_client),
    );
    match both {
        Ok(((), ())) => None,
        Err(Broken::HalfFrame) => {
            shared.counts.send_modify(|counts| counts.cut += 1);
            Some(Cut::Finish)
        }
        Err(Broken::Socket) => Some(Cut::Reset),
    }
}

/// Makes the system send a reset when the socket is dropped.
fn reset(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// Ends both sides in order. What they still send is read and forgotten: closing a socket with
/// something unread in it would be a reset.
async fn finish(mut client: TcpStream, mut upstream: TcpStream) {
    let _ = tokio::join!(client.shutdown(), upstream.shutdown());
    let (mut client_rest, mut upstream_rest) = (sink(), sink());
    let _ =
        tokio::join!(copy(&mut client, &mut client_rest), copy(&mut upstream, &mut upstream_rest));
}
