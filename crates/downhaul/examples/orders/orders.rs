//! The consumer `orders`: applies what `inventory` decided.

use std::future::{Ready, ready};
use std::sync::Arc;

use downhaul::Context;
use downhaul::consumer::{Failure, Incoming, Json};

use crate::messages::{CONFIRMED, Order, REJECTED};
use crate::shop::{Shop, Status};

/// The handler, with what it needs.
pub(crate) fn handler(
    shop: Arc<Shop>,
) -> impl Fn(Context, Incoming<Json<Order>>) -> Ready<Result<(), Failure>> + Send + Sync + 'static {
    move |_ctx, message| ready(apply(&shop, &message))
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
