//! [`Work`]: what handlers do, decided by the seed, the message and how often it was handled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{Failure, Incoming, Message, Settlement};
use downhaul_context::{CauseKind, Context};
use fastrand::Rng;
use tokio::time::sleep;

/// What a panic of a handler says, so that the hook is silent about it.
pub(crate) const PLANTED: &str = "planted panic";

#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    seed: u64,
    calls: Arc<Mutex<HashMap<String, u64>>>,
    /// What no handler should have seen.
    wrongs: Arc<Mutex<Vec<String>>>,
}

impl Work {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().unwrap().clone()
    }

    pub(crate) async fn handle(
        self,
        ctx: Context,
        message: Incoming<Message>,
    ) -> Result<Settlement, Failure> {
        let call = self.call(message.id());
        let mut rng = Rng::with_seed(self.seed ^ hash(message.id()) ^ (call << 40));
        let millis = Duration::from_millis(rng.u64(1..60));
        match rng.u8(0..100) {
            0..40 => Ok(Settlement::Ack),
            40..65 => self.wait(&ctx, message.id(), millis).await,
            65..77 => Err(std::io::Error::other("not now").into()),
            77..80 => Err(Failure::permanent("never")),
            80..84 => Err(Failure::retry_after(30 * millis, std::fmt::Error)),
            84..87 => Ok(Settlement::Drop { reason: "worthless".to_owned() }),
            87..92 if call < 6 => Ok(Settlement::Release),
            92..95 => panic!("{PLANTED}"),
            95..98 => Err(Failure::from(ctx.done().await)),
            98..100 => std::future::pending().await,
            _ => Ok(Settlement::Ack),
        }
    }

    /// Waits for less than any budget. What began before a stop is to finish.
    async fn wait(&self, ctx: &Context, id: &str, time: Duration) -> Result<Settlement, Failure> {
        let drained = ctx.is_draining();
        match ctx.run(sleep(time)).await {
            Ok(()) => Ok(Settlement::Ack),
            Err(cause) => {
                if !drained && cause.kind() != CauseKind::Operator {
                    let wrong = format!("{id}: a handler of {time:?} was cut short: {cause}");
                    self.wrongs.lock().unwrap().push(wrong);
                }
                Err(cause.into())
            }
        }
    }

    /// How often the message was handled before.
    fn call(&self, id: &str) -> u64 {
        let mut calls = self.calls.lock().unwrap();
        let count = calls.entry(id.to_owned()).or_default();
        *count += 1;
        *count - 1
    }
}

/// The same in every process, which the hashes of the standard library are not.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
