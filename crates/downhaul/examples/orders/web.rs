//! The HTTP side: place an order, look at it, look at the totals.

use std::sync::Arc;
use std::time::Duration;

use downhaul::consumer::{PublishError, PublishErrorKind, Publisher};
use downhaul::http::{Error, Json, Request, Router};
use downhaul::{Context, RequestId};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::doubtful::Doubt;
use crate::messages::{CREATED, Order, about};
use crate::shop::{Shop, Stats, Status};

/// The part of a request's time that is kept to answer that the broker did not.
const RESERVE: Duration = Duration::from_millis(500);

/// What the handlers share.
pub(crate) struct Web {
    pub(crate) shop: Arc<Shop>,
    pub(crate) publisher: Publisher,
    pub(crate) doubt: Doubt,
}

pub(crate) fn routes(web: Web) -> Router<Web> {
    let router = Router::with_state(web);
    router.post("/orders", place).get("/orders/{id}", show).get("/stats", stats)
}

/// What a client sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    product: String,
    quantity: u32,
}

#[derive(Serialize)]
struct Placed {
    id: String,
    request_id: String,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    status: Status,
    request_id: String,
}

/// 202 once the broker has confirmed the message.
async fn place(ctx: Context, mut req: Request<Web>) -> Result<(StatusCode, Json<Placed>), Error> {
    let new: NewOrder = req.json().await?;
    if new.quantity < 1 || new.product.is_empty() {
        return Err(Error::bad_request("want a product and a quantity of at least 1"));
    }
    let order = Order {
        id: RequestId::generate().to_string(),
        product: new.product,
        quantity: new.quantity,
        request_id: ctx.value::<RequestId>().map(ToString::to_string).unwrap_or_default(),
    };
    let Web { shop, publisher, doubt } = req.state();
    let message = about(CREATED, &order).map_err(Error::internal)?;
    // Before it is published: the outcome may come sooner than the broker's answer.
    shop.place(&order);
    let budget = ctx.remaining().unwrap_or(Duration::MAX).saturating_sub(RESERVE);
    let (publishing, _canceller) = ctx.derive().label("publish").timeout(budget).build();
    if let Err(error) = publisher.publish_until_known(&publishing, message).await {
        return Err(not_placed(shop, doubt, order, error));
    }
    tracing::info!(order = order.id, "order placed");
    Ok((StatusCode::ACCEPTED, Json(Placed { id: order.id, request_id: order.request_id })))
}

/// An order whose message may be with the broker is kept, and sent again until that is known.
fn not_placed(shop: &Shop, doubt: &Doubt, order: Order, error: PublishError) -> Error {
    if error.kind() == PublishErrorKind::Unknown {
        let words =
            format!("the broker did not answer in time; order {} will be settled", order.id);
        doubt.cast(order);
        return Error::new(StatusCode::GATEWAY_TIMEOUT, words).with_source(error);
    }
    shop.forget(&order.id);
    Error::unavailable("the broker cannot be reached: try again")
        .retry_after(Duration::from_secs(1))
        .with_source(error)
}

async fn show(_ctx: Context, req: Request<Web>) -> Result<Json<Shown>, Error> {
    let id: String = req.param("id")?;
    let found = req.state().shop.find(&id);
    let (status, request_id) = found.ok_or_else(|| Error::not_found(format!("no order `{id}`")))?;
    Ok(Json(Shown { id, status, request_id }))
}

async fn stats(_ctx: Context, req: Request<Web>) -> Json<Stats> {
    Json(req.state().shop.stats())
}
