//! The handler of `consumer_only` on Kafka, and one with transactions. Takes the address of the
//! cluster.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Broker, BrokerError, Consumer, Failure, Incoming, Json, Message};
use downhaul_consumer::{Outcome, Outgoing, Publisher, Settlement, State, Subscription};
use downhaul_context::Context;
use downhaul_kafka::{Kafka, NewTopics};
use tokio::time::sleep;

async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
    println!("reserving {} for message {}", order.body.0, order.id());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(address) = std::env::args().nth(1) else {
        println!("usage: kafka kafka://host:port [password | transactional]");
        return Ok(());
    };
    if std::env::args().nth(2).is_some_and(|word| word == "transactional") {
        return transactional(&address).await;
    }
    // ANCHOR: broker
    let broker = Kafka::new(&address)?
        .create_topics(NewTopics::partitions(12)) // default: topics must be there
        .property("client.id", "inventory") // in the broker's logs; default: `downhaul`
        .producer_property("compression.type", "lz4"); // default: none
    // ANCHOR_END: broker
    let broker = match std::env::args().nth(2) {
        Some(password) => secured(broker, &password),
        None => broker,
    };
    let broker: Arc<dyn Broker> = Arc::new(tuned(broker));

    // ANCHOR: consume
    let (service, canceller) = Context::root();
    let subscription = Subscription::new("inventory").topic("order.created");
    let inventory = Consumer::new(subscription, reserve).spawn(&service, Arc::clone(&broker));
    assert_eq!(inventory.settled().await, State::Running);

    let publisher = Publisher::new(Arc::clone(&broker));
    let (ctx, _ctx) = service.with_timeout(Duration::from_secs(5));
    let order = Message::json(&7)?.with_key("customer-1"); // chooses the partition
    publisher.publish(&ctx, Outgoing::to_topic("order.created", order)).await?; // on all replicas
    // ANCHOR_END: consume
    while inventory.tally().acked == 0 {
        sleep(Duration::from_millis(10)).await;
    }

    // ANCHOR: stop
    canceller.drain(Duration::from_secs(30));
    inventory.ended().await; // offsets are committed, and others have the partitions
    let closing = Context::background();
    publisher.close(&closing).await;
    broker.close(&closing).await;
    // ANCHOR_END: stop
    assert_eq!(inventory.tally().dead_lettered, 0);
    told_at_once().await?;
    Ok(())
}

fn secured(broker: Kafka, password: &str) -> Kafka {
    // ANCHOR: secured
    broker
        .property("security.protocol", "sasl_ssl") // `ssl` without a login
        .property("ssl.ca.location", "/etc/ssl/kafka-ca.pem") // default: the system's
        .property("sasl.mechanism", "SCRAM-SHA-512") // or `PLAIN`
        .property("sasl.username", "inventory")
        .property("sasl.password", password)
    // ANCHOR_END: secured
}

fn tuned(broker: Kafka) -> Kafka {
    // ANCHOR: tuned
    broker
        .retry_steps(&[1, 10, 60, 600].map(Duration::from_secs)) // default: up to 24 h
        .group_topics(NewTopics::partitions(1)) // those for retries and dead letters
        .commit_every(Duration::from_secs(1), 1_000) // or earlier, after so many messages
        .longest_gap(1_024) // read of a partition beyond an unfinished message
        .revoke_budget(Duration::from_secs(30)) // to finish with partitions that go
        .connect_timeout(Duration::from_secs(10))
    // ANCHOR_END: tuned
}

// ANCHOR: invoice
async fn invoice(_ctx: Context, order: Incoming<Json<u32>>) -> Result<Outcome, Failure> {
    let invoice = Message::json(&order.body.0).map_err(Failure::permanent)?;
    Ok(Outcome::new(Settlement::Ack).emit(Outgoing::to_topic("invoice.created", invoice)))
}
// ANCHOR_END: invoice

/// Needs a cluster that can do it.
async fn transactional(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (service, canceller) = Context::root();
    let others = Arc::new(Kafka::new(address)?.create_topics(NewTopics::partitions(12)));
    // Which reads what is committed alone, as all of librdkafka's consumers do by default.
    let accounts = Subscription::new("accounts").topic("invoice.created").topic("order.created");
    let accounts = Consumer::new(accounts, reserve).spawn(&service, others.clone());
    assert_eq!(accounts.settled().await, State::Running);
    let order = Outgoing::to_topic("order.created", Message::json(&7)?);
    Publisher::new(others).publish(&service, order).await?;

    // ANCHOR: transactional
    let broker = Kafka::new(address)?
        .transactional("billing-1") // this process's, and the same after a restart
        .commit_every(Duration::from_millis(200), 10_000); // then it is visible
    let subscription = Subscription::new("billing").topic("order.created");
    let billing = Consumer::new(subscription, invoice).spawn(&service, Arc::new(broker));
    // ANCHOR_END: transactional
    while billing.tally().acked == 0 || accounts.tally().acked < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    canceller.drain(Duration::from_secs(30));
    billing.ended().await;
    accounts.ended().await;
    Ok(())
}

async fn told_at_once() -> Result<(), BrokerError> {
    // ANCHOR: refused
    let broker = Kafka::new("kafka://localhost:9092?enable.auto.commit=true")?;
    let error = broker.sink(&Context::background()).await.expect_err("it relies on that");
    assert!(error.is_permanent());
    assert_eq!(
        error.to_string(),
        "the property `enable.auto.commit` cannot be set: \
         offsets are committed when their messages are settled"
    );
    // ANCHOR_END: refused
    Ok(())
}
