//! A consumer without an app: retries, dead letters, pausing, and what publishing says.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Consumer, DeadLetters, Failure, Incoming, Json, MemoryBroker, Message};
use downhaul_consumer::{Outgoing, PublishErrorKind, Publisher, QueueDepth, RetryPolicy, State};
use downhaul_consumer::{Subscription, headers};
use downhaul_context::Context;
use tokio::time::sleep;

// ANCHOR: handler
async fn reserve(ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
    let Json(quantity) = order.body;
    if quantity == 0 {
        // No retry mends this: the message becomes a dead letter, with these words as its reason.
        return Err(Failure::permanent("an order of nothing"));
    }
    if quantity > 100 && order.attempt() < 3 {
        // Any error means: try again, as the retry policy says.
        return Err(std::io::Error::other("the stock is being counted").into());
    }
    // Waiting ends when the context does, and the message then goes back to its queue.
    ctx.run(write_down(quantity)).await?;
    Ok(())
}
// ANCHOR_END: handler

async fn write_down(_quantity: u32) {}

/// What handles orders of nothing is not written yet.
fn is_mended(letter: &Message) -> bool {
    letter.headers().get(headers::DEAD_REASON) != Some("an order of nothing")
}

/// Waits until nothing is left in the queue, delayed or unsettled.
async fn emptied(broker: &MemoryBroker) {
    while broker.depth("inventory") != QueueDepth::default() {
        sleep(Duration::from_millis(1)).await;
    }
}

fn order(quantity: u32) -> Result<Outgoing, Box<dyn std::error::Error>> {
    Ok(Outgoing::to_topic("order.created", Message::json(&quantity)?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: spawn
    let broker = Arc::new(MemoryBroker::new());
    let (service, canceller) = Context::root();

    let retry = RetryPolicy::default()
        .attempts(5)
        .backoff(Duration::from_millis(10), Duration::from_secs(30));
    let inventory = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve)
        .concurrency(8)
        .retry(retry)
        .handler_timeout(Duration::from_secs(60))
        .spawn(&service, broker.clone());
    assert_eq!(inventory.settled().await, State::Running); // the queue is there
    // ANCHOR_END: spawn

    // ANCHOR: publish
    let publisher = Publisher::new(broker.clone());
    let (ctx, _ctx) = service.with_timeout(Duration::from_secs(5));
    publisher.publish(&ctx, order(7)?).await?; // returns when the broker has it
    publisher.publish(&ctx, order(700)?).await?;
    publisher.publish(&ctx, order(0)?).await?;

    let nobody = Outgoing::to_topic("order.lost", Message::new("7"));
    let outcome = publisher.publish(&ctx, nobody).await.map_err(|error| error.kind());
    assert_eq!(outcome, Err(PublishErrorKind::Returned)); // no queue wants it
    // ANCHOR_END: publish

    emptied(&broker).await;
    // ANCHOR: lifecycle
    inventory.drain(); // take nothing new, finish all that has arrived here, stop
    assert_eq!(inventory.settled().await, State::Stopped);
    inventory.start();
    inventory.pause(); // the latest wish counts
    assert_eq!(inventory.settled().await, State::Paused);

    publisher.publish(&ctx, order(8)?).await?; // waits in the queue
    assert_eq!(broker.depth("inventory").ready, 1);
    inventory.resume();
    assert_eq!(inventory.settled().await, State::Running);
    // ANCHOR_END: lifecycle

    emptied(&broker).await;

    // ANCHOR: dead
    let dead = broker.ready("inventory.dead");
    assert_eq!(dead[0].headers().get(headers::DEAD_REASON), Some("an order of nothing"));
    let tally = inventory.tally();
    assert_eq!((tally.retried, tally.dead_lettered), (2, 1));
    // ANCHOR_END: dead

    // ANCHOR: replay
    let letters = DeadLetters::of("inventory", broker);
    let replayed = letters.replay(&ctx, 100, is_mended).await?;
    println!("{} put back, {} left alone", replayed.put_back, replayed.left);
    // ANCHOR_END: replay
    assert_eq!((replayed.put_back, replayed.left), (0, 1));

    canceller.drain(Duration::from_secs(30));
    inventory.ended().await;
    Ok(())
}
