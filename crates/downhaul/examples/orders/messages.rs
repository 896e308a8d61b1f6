//! What travels over the broker.

use downhaul::consumer::{Message, Outgoing};
use serde::{Deserialize, Serialize};

/// An order was placed.
pub(crate) const CREATED: &str = "order.created";
/// Its stock is reserved.
pub(crate) const CONFIRMED: &str = "order.confirmed";
/// There is not enough stock.
pub(crate) const REJECTED: &str = "order.rejected";

/// An order, in each of the three messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) product: String,
    pub(crate) quantity: u32,
    pub(crate) request_id: String,
}

/// The message of `topic` about an order. Its id is made of both, so that a message that is
/// published twice is one; its key is the order, so that what is about it keeps its order.
pub(crate) fn about(topic: &str, order: &Order) -> Result<Outgoing, serde_json::Error> {
    let message = Message::json(order)?.with_id(format!("{}.{topic}", order.id));
    let message = message.with_key(&order.id);
    Ok(Outgoing::to_topic(topic, message))
}
