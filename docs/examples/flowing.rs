//! How much at a time, in which order, in batches, and what is done when nearly all fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Batches, Consumer, Failure, Incoming, Json, KillSwitch, MemoryBroker, Message, Outgoing,
    Publisher, Rate, RetryPolicy, Settlement, Subscription,
};
use downhaul_context::Context;
use tokio::time::{Instant, sleep};

fn orders() -> Subscription {
    Subscription::new("orders").topic("order")
}

// ANCHOR: ordered
async fn apply(_ctx: Context, change: Incoming<Json<u64>>) -> Result<(), Failure> {
    sleep(Duration::from_millis(change.body.0)).await;
    println!("{:?}: {}", change.key(), change.id());
    Ok(())
}

fn ledger() -> Consumer {
    Consumer::new(orders(), apply)
        .ordered() // of one key one after the other
        .concurrency(32) // and of 32 keys at the same time
}

fn change(customer: &str, id: &'static str, takes: u64) -> serde_json::Result<Outgoing> {
    let message = Message::json(&takes)?.with_id(id).with_key(customer);
    Ok(Outgoing::to_topic("order", message))
}
// ANCHOR_END: ordered

// ANCHOR: batches
async fn insert(_ctx: Context, orders: Vec<Incoming<Json<u64>>>) -> Vec<Result<(), Failure>> {
    // One statement for all; a result for each.
    let known = |order: &Incoming<Json<u64>>| match order.body.0 {
        0 => Err(Failure::permanent("an order of nothing")),
        _ => Ok(()),
    };
    orders.iter().map(known).collect()
}

fn inserting() -> Consumer {
    let gathered = Batches::of(500).within(Duration::from_millis(200));
    Consumer::batches(orders(), gathered, insert).concurrency(2)
}
// ANCHOR_END: batches

// ANCHOR: careful
fn careful(handler: Handled) -> Consumer {
    Consumer::new(orders(), handler.into_fn())
        // As much as the shop's API allows.
        .rate(Rate::new(100, Duration::from_secs(1)))
        // Nothing is taken while nearly all fails.
        .kill_switch(KillSwitch::default().share(0.5).pause(Duration::from_secs(30)))
        // No id is processed twice by this process.
        .dedupe(Arc::new(MemoryInbox::new()))
        .retry(RetryPolicy::default().attempts(8))
        // What the handler did not classify.
        .classify(|error| {
            let refused = error.to_string().contains("403");
            refused.then(|| Settlement::DeadLetter { reason: "the shop refuses it".to_owned() })
        })
}
// ANCHOR_END: careful

/// What a handler saw.
#[derive(Clone, Default)]
struct Handled(Arc<Mutex<Vec<String>>>);

impl Handled {
    fn into_fn(
        self,
    ) -> impl Fn(Context, Incoming<Message>) -> std::future::Ready<()> + Send + Sync + 'static {
        move |_ctx, message| {
            self.0.lock().expect("nobody panics").push(message.id().to_owned());
            std::future::ready(())
        }
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    in_order().await?;
    in_batches().await?;
    with_care().await
}

async fn in_order() -> Result<(), Box<dyn std::error::Error>> {
    let (ctx, broker) = (Context::background(), Arc::new(MemoryBroker::new()));
    let consumer = ledger().spawn(&ctx, broker.clone());
    consumer.settled().await;
    let publisher = Publisher::new(broker);
    let begun = Instant::now();
    // ANCHOR: slow_key
    publisher.publish(&ctx, change("anna", "1", 500)?).await?;
    publisher.publish(&ctx, change("anna", "2", 10)?).await?; // waits for 1
    publisher.publish(&ctx, change("ben", "3", 10)?).await?; // waits for nobody
    // ANCHOR_END: slow_key
    while consumer.tally().acked < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(begun.elapsed().as_millis() / 10, 51);

    // ANCHOR: settings
    consumer.set(|settings| settings.concurrency = 4); // at once, and nothing is lost
    consumer.set(|settings| settings.rate = Some(Rate::new(10, Duration::from_secs(1))));
    consumer.set(|settings| settings.prefetch = Some(64));
    consumer.settled().await;
    // ANCHOR_END: settings
    assert_eq!((consumer.settings().concurrency, consumer.settings().prefetch()), (4, 64));
    Ok(())
}

async fn in_batches() -> Result<(), Box<dyn std::error::Error>> {
    let (ctx, broker) = (Context::background(), Arc::new(MemoryBroker::new()));
    let consumer = inserting().spawn(&ctx, broker.clone());
    consumer.settled().await;
    let publisher = Publisher::new(broker.clone());
    let quantities = [3_u64, 0, 7];
    let order = |quantity: &u64| Message::json(quantity).map(|it| Outgoing::to_topic("order", it));
    let orders: Vec<Outgoing> = quantities.iter().map(order).collect::<Result<_, _>>()?;
    publisher.publish_all(&ctx, orders).await?;
    while consumer.tally().acked < 2 || consumer.tally().dead_lettered < 1 {
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn with_care() -> Result<(), Box<dyn std::error::Error>> {
    let (ctx, broker) = (Context::background(), Arc::new(MemoryBroker::new()));
    let handled = Handled::default();
    let consumer = careful(handled.clone()).spawn(&ctx, broker.clone());
    consumer.settled().await;
    let publisher = Publisher::new(broker);
    for id in ["one", "two", "one"] {
        let message = Message::new("").with_id(id);
        publisher.publish(&ctx, Outgoing::to_topic("order", message)).await?;
    }
    while consumer.tally().acked < 2 || consumer.tally().duplicates < 1 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(*handled.0.lock().expect("nobody panics"), ["one", "two"]);
    Ok(())
}
