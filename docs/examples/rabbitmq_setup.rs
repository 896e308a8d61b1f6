//! What is said once about a RabbitMQ: its nodes, its secrets, and what is declared there. Takes
//! the URL of a node that speaks TLS, or says what it would declare.

use downhaul_consumer::{BrokerError, Subscription};
use downhaul_rabbitmq::{Credentials, Exchange, Overflow, Queue, RabbitMq, Tls, Topology};

// ANCHOR: topology
fn topology() -> Topology {
    Topology::new()
        .exchange(Exchange::topic("shop"))
        .exchange(Exchange::fanout("lost"))
        .queue(Queue::quorum("inventory").delivery_limit(10).dead_letter_to("lost"))
        .queue(Queue::classic("lost-letters").max_length(10_000).overflow(Overflow::RejectPublish))
        .bind("inventory", "shop", "order.*")
        .bind("lost-letters", "lost", "")
}
// ANCHOR_END: topology

// ANCHOR: connecting
async fn of_the_hour() -> std::io::Result<Credentials> {
    let token = std::fs::read_to_string("/run/secrets/rabbitmq-token")?;
    Ok(Credentials::new("inventory", token.trim()))
}

fn connecting() -> Result<RabbitMq, BrokerError> {
    let nodes = ["amqps://rabbit-1.internal/shop", "amqps://rabbit-2.internal/shop"];
    let tls = Tls::new()
        .ca_file("/etc/rabbitmq/ca.pem")
        .certificate_files("/etc/inventory/chain.pem", "/etc/inventory/key.pem");
    Ok(RabbitMq::cluster(nodes)?.tls(tls)?.credentials(of_the_hour))
}
// ANCHOR_END: connecting

fn main() -> Result<(), BrokerError> {
    if std::env::args().any(|argument| argument == "--connect") {
        connecting()?;
    }
    // ANCHOR: use
    let broker = RabbitMq::new("amqp://localhost")?.exchange("shop").topology(topology())?;
    let subscription = Subscription::new("inventory"); // the queue above, with its bindings
    // ANCHOR_END: use
    assert!(topology().warnings().is_empty());
    let tree = "\
exchange shop, topic
└─ order.* → queue inventory
exchange lost, fanout
└─ → queue lost-letters
queue inventory, quorum, delivery limit 10
└─ dead letters → exchange lost
queue lost-letters, classic, max length 10000, overflow reject-publish
";
    assert_eq!(topology().to_string(), tree);
    println!("{tree}{broker:?}\n{subscription:?}");
    Ok(())
}
