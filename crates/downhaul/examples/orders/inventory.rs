//! The consumer `inventory`: reserves the stock of an order and says what came of it.

use std::sync::Arc;
use std::time::Duration;

use downhaul::consumer::{
    Consumer, Failure, Incoming, Json, KillSwitch, Publisher, RetryPolicy, Subscription,
};
use downhaul::{ConsumerWorker, Context};
use tokio::time::sleep;

use crate::broker::Links;
use crate::messages::{CONFIRMED, CREATED, Order, REJECTED, about};
use crate::shop::{Decision, Shop};

pub(crate) fn worker(shop: &Arc<Shop>, links: &Links, work: Duration) -> ConsumerWorker {
    let (shop, publisher) = (Arc::clone(shop), links.publisher.clone());
    let reserve = move |ctx: Context, message: Incoming<Json<Order>>| {
        let (shop, publisher) = (Arc::clone(&shop), publisher.clone());
        async move { reserve(&ctx, &shop, &publisher, work, message.body.0).await }
    };
    let reserve = Consumer::new(Subscription::new("inventory").topic(CREATED), reserve)
        .concurrency(32)
        .ordered()
        .dedupe(Arc::clone(&links.seen))
        .retry(RetryPolicy::default().attempts(8))
        .kill_switch(KillSwitch::default());
    ConsumerWorker::new(reserve, Arc::clone(&links.broker))
}

/// If anything after the reservation fails, or is cancelled, the reservation is dropped and the
/// stock is there again. The message comes again, and so does the reservation.
async fn reserve(
    ctx: &Context,
    shop: &Arc<Shop>,
    publisher: &Publisher,
    work: Duration,
    order: Order,
) -> Result<(), Failure> {
    let decision = shop.reserve(&order);
    ctx.run(sleep(work)).await?;
    let topic = match decision {
        Decision::Reserved(_) | Decision::Confirmed => CONFIRMED,
        Decision::Rejected => REJECTED,
    };
    publisher.publish_until_known(ctx, about(topic, &order)?).await?;
    if let Decision::Reserved(reservation) = decision {
        reservation.keep();
    }
    tracing::info!(order = order.id, topic, "stock decided");
    Ok(())
}
