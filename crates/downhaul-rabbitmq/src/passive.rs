//! Looking whether what others have declared is there.

use downhaul_consumer::{BrokerError, Subscription};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};

use crate::error::{cannot, code};
use crate::link::Line;
use crate::topology::name;

/// Finds what a source needs: its queue, and where its dead letters go. How the queue is bound
/// cannot be seen.
pub(crate) async fn find(
    channel: &Channel,
    subscription: &Subscription,
) -> Result<(), BrokerError> {
    find_queue(channel, subscription.queue()).await?;
    if subscription.has_dead_letters() {
        find_queue(channel, &subscription.dead_letter_queue()).await?;
    }
    Ok(())
}

async fn find_queue(channel: &Channel, queue: &str) -> Result<(), BrokerError> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let named = name("the queue", queue)?;
    let found = channel.queue_declare(named, options, FieldTable::default()).await;
    let what = || format!("find queue `{queue}`, which others are to declare");
    found.map_err(|error| cannot(&what(), &error)).map(drop)
}

/// Whether an exchange is there. On a channel of its own, which the answer may close.
pub(crate) async fn has_exchange(line: &Line, exchange: &str) -> Result<bool, BrokerError> {
    let channel = line.sibling().await?;
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let (named, kind) = (name("the exchange", exchange)?, ExchangeKind::Topic);
    match channel.exchange_declare(named, kind, options, FieldTable::default()).await {
        Ok(()) => Ok(true),
        Err(error) if code(&error) == Some(404) => Ok(false),
        Err(error) => Err(cannot(&format!("look for exchange `{exchange}`"), &error)),
    }
}
