//! One direction of one connection: what is read is queued with the time when it is due, and
//! written when the weather lets it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::weather::{Way, Weather};

/// In bytes.
const CHUNK: usize = 16 * 1024;
/// How many chunks may be on their way: what does not fit waits in the sender's socket.
const CHUNKS: usize = 64;
/// A throttled direction writes this often a second, so that its bytes trickle.
const TRICKLES: u32 = 20;

/// Why a connection must end.
pub(super) enum Broken {
    /// A half frame has passed.
    HalfFrame,
    /// One of the sockets.
    Socket,
}

type Chunk = (Instant, Vec<u8>);

/// Carries what is read to the other side, and then the end.
pub(super) async fn carry(
    shared: &Shared,
    way: Way,
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> Result<(), Broken> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let mut lane = Lane { shared, way, weather: shared.weather.subscribe() };
    // What came before a break is written; a break in writing is the end at once.
    let reading = async { Ok(read(shared, way, from, sender).await) };
    let (end, ()) = tokio::try_join!(reading, lane.write(&mut to, receiver))?;
    lane.clear().await;
    end?;
    to.shutdown().await.map_err(|_| Broken::Socket)
}

/// Reads until the end.
async fn read(
    shared: &Shared,
    way: Way,
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Chunk>,
) -> Result<(), Broken> {
    loop {
        let mut chunk = vec![0; CHUNK];
        let length = from.read(&mut chunk).await.map_err(|_| Broken::Socket)?;
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        shared.counts.send_modify(|counts| counts.way(way).taken += length as u64);
        let delay = shared.weather.borrow().lane(way).delay;
        if queue.send((Instant::now() + delay, chunk)).await.is_err() {
            // Writing has failed, and says so.
            return Ok(());
        }
    }
}

struct Lane<'a> {
    shared: &'a Shared,
    way: Way,
    weather: watch::Receiver<Weather>,
}

/// What may be written now.
struct Leave {
    bytes: usize,
    /// How long the next must wait.
    pause: Duration,
    /// Whether the connection ends after it.
    is_last: bool,
}

impl Lane<'_> {
    async fn write(
        &mut self,
        to: &mut WriteHalf<'_>,
        mut queue: mpsc::Receiver<Chunk>,
    ) -> Result<(), Broken> {
        while let Some((due, chunk)) = queue.recv().await {
            sleep_until(due).await;
            self.pass(to, &chunk).await?;
        }
        Ok(())
    }

    async fn pass(&mut self, to: &mut WriteHalf<'_>, mut rest: &[u8]) -> Result<(), Broken> {
        while !rest.is_empty() {
            self.clear().await;
            let leave = self.leave(rest.len());
            let (now, later) = rest.split_at(leave.bytes);
            to.write_all(now).await.map_err(|_| Broken::Socket)?;
            let passed = now.len() as u64;
            self.shared.counts.send_modify(|counts| counts.way(self.way).passed += passed);
            if leave.is_last {
                return Err(Broken::HalfFrame);
            }
            if !leave.pause.is_zero() {
                sleep(leave.pause).await;
            }
            rest = later;
        }
        Ok(())
    }

    /// Waits while this direction is a blackhole.
    async fn clear(&mut self) {
        // The proxy has a sender while its links live.
        let _ = self.weather.wait_for(|weather| !weather.lane(self.way).blackhole).await;
    }

    fn leave(&self, wanted: usize) -> Leave {
        let mut leave = Leave { bytes: wanted, pause: Duration::ZERO, is_last: false };
        // Nobody waits for how much is left.
        self.shared.weather.send_if_modified(|weather| {
            let lane = weather.lane_mut(self.way);
            if let Some(rate) = lane.rate.map(u32::from) {
                let trickle = (rate / TRICKLES).max(1);
                leave.bytes = wanted.min(trickle as usize);
                leave.pause = Duration::from_secs(1).mul_f64(leave.bytes as f64 / f64::from(rate));
            }
            if let Some(left) = lane.left {
                leave.is_last = left < leave.bytes as u64;
                leave.bytes = leave.bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
                lane.left = (!leave.is_last).then(|| left - leave.bytes as u64);
            }
            false
        });
        leave
    }
}
