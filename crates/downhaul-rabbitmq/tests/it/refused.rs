//! Publishes that are nacked, and what becomes of their channel.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Message, Outgoing, PublishErrorKind, PublishOutcome, Publisher};
use downhaul_context::Context;
use downhaul_rabbitmq::{Overflow, Queue, RabbitMq, Topology};
use downhaul_testkit::unique;
use tokio::time::Instant;

use crate::support::{shared_broker, sink, soon};

/// A broker with a queue that takes nothing and one that takes all.
fn broker() -> (RabbitMq, [String; 2]) {
    let [full, roomy] = [unique("full"), unique("roomy")];
    let bounded = Queue::classic(&full).max_length(0).overflow(Overflow::RejectPublish);
    let topology = Topology::new().queue(bounded).queue(Queue::classic(&roomy));
    (shared_broker().topology(topology).unwrap(), [full, roomy])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_was_refused_something_makes_way_for_another_when_it_is_at_rest() {
    let (broker, [full, _roomy]) = broker();
    let (sink, begun) = (sink(&broker).await, Instant::now());
    let refused = Outgoing::to_queue(full, Message::new(""));
    let mut nacks = 0_u32;
    let error = loop {
        match soon("a send", sink.send(&refused)).await {
            Ok(receipt) => {
                let outcome = soon("an answer", receipt).await;
                assert!(matches!(outcome, PublishOutcome::Nacked), "{outcome:?}");
                nacks += 1;
                assert!(begun.elapsed() < Duration::from_secs(30), "it is kept");
            }
            Err(error) => break error,
        }
    };
    assert!(!error.is_permanent(), "a publisher opens another: {error}");
    assert!(nacks > 1 && begun.elapsed() >= Duration::from_secs(1), "seldom: {nacks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_channels_make_way_for_others() {
    let (broker, queues) = broker();
    let publisher = Publisher::new(Arc::new(broker));
    let until = Instant::now() + Duration::from_secs(4);
    let publishing = (0..4).map(|number: usize| {
        let (publisher, queue) = (publisher.clone(), queues[number % 2].clone());
        async move {
            while Instant::now() < until {
                let outgoing = Outgoing::to_queue(queue.clone(), Message::new(""));
                let result = publisher.publish(&Context::background(), outgoing).await;
                match (number % 2, result) {
                    (0, Err(error)) => {
                        assert_eq!(error.kind(), PublishErrorKind::Nacked, "{error}")
                    }
                    (1, result) => result.unwrap(),
                    (_, result) => panic!("the full queue took one: {result:?}"),
                }
            }
        }
    });
    soon("all are answered", futures_util::future::join_all(publishing)).await;
}
