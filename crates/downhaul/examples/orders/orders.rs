//! The consumer `orders`: applies what `inventory` decided.

use std::future::ready;
use std::sync::Arc;

use downhaul::consumer::{Consumer, Failure, Incoming, Json, Subscription};
use downhaul::{ConsumerWorker, Context};

use crate::broker::Links;
use crate::messages::{CONFIRMED, Order, REJECTED};
use crate::shop::{Shop, Status};

pub(crate) fn worker(shop: &Arc<Shop>, links: &Links) -> ConsumerWorker {
    let shop = Arc::clone(shop);
    let outcomes = Subscription::new("orders").topic(CONFIRMED).topic(REJECTED);
    let apply = move |_ctx: Context, message: Incoming<Json<Order>>| ready(apply(&shop, &message));
    let apply =
        Consumer::new(outcomes, apply).concurrency(8).ordered().dedupe(Arc::clone(&links.seen));
    ConsumerWorker::new(apply, Arc::clone(&links.broker))
}

fn apply(shop: &Shop, message: &Incoming<Json<Order>>) -> Result<(), Failure> {
    let outcome = match message.topic() {
        Some(CONFIRMED) => Status::Confirmed,
        Some(REJECTED) => Status::Rejected,
        other => {
            return Err(Failure::permanent(format!("no outcome: the topic is {other:?}")));
        }
    };
    let order = &message.body.0;
    shop.settle(order, outcome);
    tracing::info!(order = order.id, ?outcome, "order settled");
    Ok(())
}
