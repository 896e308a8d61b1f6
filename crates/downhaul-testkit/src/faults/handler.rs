//! What consumers of a run do.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Failure, Incoming, Message, Settlement};
use downhaul_context::Context;
use tokio::time::sleep;

use super::pulse::Pulse;

pub(super) const ATTEMPTS: u32 = 3;

type Handled = Pin<Box<dyn Future<Output = Result<Settlement, Failure>> + Send>>;

/// A handler that is seen in `pulse`.
pub(super) fn handler(pulse: Arc<Pulse>) -> impl Fn(Context, Incoming<Message>) -> Handled {
    move |_ctx, message| {
        let pulse = Arc::clone(&pulse);
        Box::pin(async move {
            let redelivered = message.redeliveries() > 0;
            let settlement = handle(message).await;
            pulse.beat(redelivered);
            settlement
        })
    }
}

/// Whether what the handler says of this message has to be published: it is retried, or dead.
pub fn becomes_a_letter(id: &str) -> bool {
    number(id).is_ok_and(|number| matches!(number % 20, 1..=3))
}

fn number(id: &str) -> Result<u64, std::num::ParseIntError> {
    id.rsplit('/').next().unwrap_or_default().parse()
}

/// Takes a while and then does to a message what its number says.
async fn handle(message: Incoming<Message>) -> Result<Settlement, Failure> {
    let number = number(message.id())?;
    // tidy: work that faults find under way
    sleep(Duration::from_millis(5 + number % 7)).await;
    match number % 20 {
        1 if message.attempt() < ATTEMPTS => Err(std::io::Error::other("not yet"))?,
        2 => Err(Failure::permanent("never")),
        3 => Ok(Settlement::DeadLetter { reason: "unwanted".to_owned() }),
        4 => Ok(Settlement::Drop { reason: "worthless".to_owned() }),
        5 if message.redeliveries() == 0 => Ok(Settlement::Release),
        _ => Ok(Settlement::Ack),
    }
}
