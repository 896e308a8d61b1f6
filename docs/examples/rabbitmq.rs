//! The handler of `consumer_only` on RabbitMQ. Takes the broker's URL.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Broker, Consumer, Failure, Incoming, Json, Message, Outgoing};
use downhaul_consumer::{Publisher, State, Subscription};
use downhaul_context::Context;
use downhaul_rabbitmq::{QueueType, RabbitMq};
use tokio::time::sleep;

async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
    println!("reserving {} for message {}", order.body.0, order.id());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(url) = std::env::args().nth(1) else {
        println!("usage: rabbitmq amqp://user:password@host:port/vhost");
        return Ok(());
    };
    // ANCHOR: broker
    let broker = RabbitMq::new(&url)?
        .exchange("shop") // default: `downhaul`
        .queue_type(QueueType::Quorum) // default: classic
        .connection_name("inventory"); // in the broker's listings
    let broker: Arc<dyn Broker> = Arc::new(broker);
    // ANCHOR_END: broker

    // ANCHOR: consume
    let (service, canceller) = Context::root();
    let subscription = Subscription::new("inventory").topic("order.created");
    let inventory = Consumer::new(subscription, reserve).spawn(&service, Arc::clone(&broker));
    assert_eq!(inventory.settled().await, State::Running);

    let publisher = Publisher::new(Arc::clone(&broker));
    let (ctx, _ctx) = service.with_timeout(Duration::from_secs(5));
    let order = Outgoing::to_topic("order.created", Message::json(&7)?);
    publisher.publish(&ctx, order).await?; // in its queue, on disk
    // ANCHOR_END: consume
    while inventory.tally().acked == 0 {
        sleep(Duration::from_millis(10)).await;
    }

    // ANCHOR: stop
    canceller.drain(Duration::from_secs(30));
    inventory.ended().await;
    let closing = Context::background();
    publisher.close(&closing).await;
    broker.close(&closing).await;
    // ANCHOR_END: stop
    assert_eq!(inventory.tally().dead_lettered, 0);
    Ok(())
}
