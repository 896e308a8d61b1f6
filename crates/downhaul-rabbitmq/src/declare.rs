//! What is declared at the broker: the exchange, queues and bindings, all durable.

use downhaul_consumer::{BrokerError, BrokerErrorKind, Subscription};
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};

use crate::error::{cannot, cannot_declare};
use crate::options::Options;
use crate::topology::{Binding, Exchange, Queue, Target, Topology, name};

/// What a source needs: the exchanges, its queue, its dead-letter queue if it has one, and whatever
/// the dead letters of these get to. The queues of others are not looked at: what is wrong with
/// them is no business of this one.
pub(crate) async fn declare(
    channel: &Channel,
    options: &Options,
    subscription: &Subscription,
) -> Result<(), BrokerError> {
    let topology = &options.topology;
    let (queue, dead) = (subscription.queue(), subscription.dead_letter_queue());
    declare_exchanges(channel, topology).await?;
    if topology.find_queue(queue).is_none() || subscription.topics().next().is_some() {
        declare_default_exchange(channel, options).await?;
    }
    let mut queues = vec![queue];
    if subscription.has_dead_letters() {
        queues.push(&dead);
    }
    topology.follow_dead_letters(&mut queues);
    for queue in &queues {
        declare_by_name(channel, options, queue).await?;
    }
    for topic in subscription.topics() {
        bind(channel, queue, &options.exchange, topic, FieldTable::default()).await?;
    }
    for binding in &topology.bindings {
        if matches!(&binding.to, Target::Queue(name) if queues.contains(&name.as_str())) {
            declare_binding(channel, binding).await?;
        }
    }
    Ok(())
}

/// What a sink needs, which may publish anywhere: the exchange of its topics and the topology.
pub(crate) async fn declare_all(channel: &Channel, options: &Options) -> Result<(), BrokerError> {
    let topology = &options.topology;
    declare_default_exchange(channel, options).await?;
    declare_exchanges(channel, topology).await?;
    for queue in &topology.queues {
        declare_queue(channel, queue).await?;
    }
    for binding in &topology.bindings {
        if matches!(binding.to, Target::Queue(_)) {
            declare_binding(channel, binding).await?;
        }
    }
    Ok(())
}

/// The exchanges of the topology, and what flows between them.
async fn declare_exchanges(channel: &Channel, topology: &Topology) -> Result<(), BrokerError> {
    for Exchange { name, kind, arguments } in &topology.exchanges {
        declare_exchange(channel, name, kind.at_broker(), arguments.table()?).await?;
    }
    for binding in &topology.bindings {
        if matches!(binding.to, Target::Exchange(_)) {
            declare_binding(channel, binding).await?;
        }
    }
    Ok(())
}

/// Unless the topology has something to say about it.
async fn declare_default_exchange(channel: &Channel, options: &Options) -> Result<(), BrokerError> {
    if options.topology.find_exchange(&options.exchange).is_some() {
        return Ok(());
    }
    declare_exchange(channel, &options.exchange, ExchangeKind::Topic, FieldTable::default()).await
}

/// A queue as the topology has it, or else as all are.
async fn declare_by_name(
    channel: &Channel,
    options: &Options,
    queue: &str,
) -> Result<(), BrokerError> {
    match options.topology.find_queue(queue) {
        Some(known) => declare_queue(channel, known).await,
        None => declare_queue(channel, &Queue::new(queue, options.queue_type)).await,
    }
}

async fn declare_binding(channel: &Channel, binding: &Binding) -> Result<(), BrokerError> {
    let Binding { to, exchange, key, arguments } = binding;
    let arguments = arguments.table()?;
    match to {
        Target::Queue(queue) => bind(channel, queue, exchange, key, arguments).await,
        Target::Exchange(to) => {
            let (to, from) = (name("the exchange", to)?, name("the exchange", exchange)?);
            let key = name("the routing key", key)?;
            let options = ExchangeBindOptions::default();
            let bound = channel.exchange_bind(to, from, key, options, arguments).await;
            bound.map_err(|error| cannot(&format!("make the binding `{binding}`"), &error))
        }
    }
}

async fn bind(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    topic: &str,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let key = name("the topic", topic)?;
    let (to, from) = (name("the queue", queue)?, name("the exchange", exchange)?);
    let bound = channel.queue_bind(to, from, key, QueueBindOptions::default(), arguments).await;
    bound.map_err(|error| cannot(&format!("bind queue `{queue}` to topic `{topic}`"), &error))
}

async fn declare_exchange(
    channel: &Channel,
    exchange: &str,
    kind: ExchangeKind,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let named = name("the exchange", exchange)?;
    let declared = channel.exchange_declare(named, kind, options, arguments).await;
    declared.map_err(|error| cannot_declare(&format!("exchange `{exchange}`"), &error))
}

pub(crate) async fn declare_queue(channel: &Channel, queue: &Queue) -> Result<(), BrokerError> {
    let Queue { name: queue, arguments, .. } = queue;
    if queue.is_empty() {
        let words = "a queue needs a name, or it cannot be found again";
        return Err(BrokerError::new(BrokerErrorKind::Configuration, words));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let (named, arguments) = (name("the queue", queue)?, arguments.table()?);
    let declared = channel.queue_declare(named, options, arguments).await;
    declared.map_err(|error| cannot_declare(&format!("queue `{queue}`"), &error))?;
    Ok(())
}
