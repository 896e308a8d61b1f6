//! What is declared at the broker: the exchange, queues and bindings, all durable.

use downhaul_consumer::{BrokerError, BrokerErrorKind, Subscription};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::error::{cannot, short};
use crate::options::{Options, QueueType};

/// Declares the exchange, the queue, its dead-letter queue and the bindings of its topics.
pub(crate) async fn declare(
    channel: &Channel,
    options: &Options,
    subscription: &Subscription,
) -> Result<(), BrokerError> {
    let (queue, arguments) = (subscription.queue(), arguments(options.queue_type));
    declare_exchange(channel, &options.exchange).await?;
    declare_queue(channel, queue, arguments.clone()).await?;
    declare_queue(channel, &subscription.dead_letter_queue(), arguments).await?;
    for topic in subscription.topics() {
        let key = name("the topic", topic)?;
        let (queue, exchange) =
            (name("the queue", queue)?, name("the exchange", &options.exchange)?);
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await;
        let what = || format!("bind queue `{}` to topic `{topic}`", subscription.queue());
        bound.map_err(|error| cannot(&what(), &error))?;
    }
    Ok(())
}

pub(crate) async fn declare_exchange(channel: &Channel, exchange: &str) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel
        .exchange_declare(
            name("the exchange", exchange)?,
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        )
        .await;
    declared.map_err(|error| cannot(&format!("declare exchange `{exchange}`"), &error))
}

pub(crate) async fn declare_queue(
    channel: &Channel,
    queue: &str,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    if queue.is_empty() {
        let words = "a queue needs a name, or it cannot be found again";
        return Err(BrokerError::new(BrokerErrorKind::Configuration, words));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(name("the queue", queue)?, options, arguments).await;
    declared.map_err(|error| cannot(&format!("declare queue `{queue}`"), &error))?;
    Ok(())
}

/// Classic queues are declared without a word about their type, as everybody else does.
pub(crate) fn arguments(queue_type: QueueType) -> FieldTable {
    let mut arguments = FieldTable::default();
    if queue_type == QueueType::Quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
    }
    arguments
}

pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn name(what: &str, text: &str) -> Result<ShortString, BrokerError> {
    short(what, text, BrokerErrorKind::Configuration)
}
