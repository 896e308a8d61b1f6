//! The consumer `inventory`: reserves the stock of an order and says what came of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use downhaul::Context;
use downhaul::consumer::{Failure, Incoming, Json, Publisher};
use tokio::time::sleep;

use crate::messages::{CONFIRMED, Order, REJECTED, about};
use crate::shop::{Decision, Shop};

type Handling = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// The handler, with what it needs.
pub(crate) fn handler(
    shop: Arc<Shop>,
    publisher: Publisher,
    work: Duration,
) -> impl Fn(Context, Incoming<Json<Order>>) -> Handling + Send + Sync + 'static {
    move |ctx, message| {
        let (shop, publisher) = (Arc::clone(&shop), publisher.clone());
        Box::pin(async move { reserve(&ctx, &shop, &publisher, work, message.body.0).await })
    }
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
    publisher.publish(ctx, about(topic, &order)?).await?;
    if let Decision::Reserved(reservation) = decision {
        reservation.keep();
    }
    tracing::info!(order = order.id, topic, "stock decided");
    Ok(())
}
