//! Orders that may or may not be with the broker, because it did not answer in time.
//!
//! A component of the service's own: it sends their messages again, with the same ids, until the
//! broker answers. Without it, an order whose message was lost with the link would be pending for
//! ever.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use downhaul::consumer::Publisher;
use downhaul::{BoxError, Component, Context};
use tokio::sync::{mpsc, watch};

use crate::messages::{CREATED, Order, about};

/// Takes orders that are in doubt.
#[derive(Clone)]
pub(crate) struct Doubt {
    orders: mpsc::UnboundedSender<Order>,
    ids: Arc<watch::Sender<Vec<String>>>,
}

impl Doubt {
    pub(crate) fn cast(&self, order: Order) {
        self.ids.send_modify(|ids| ids.push(order.id.clone()));
        // The other end lives as long as the service, which stops HTTP before it.
        let _ = self.orders.send(order);
    }
}

/// Settles doubts, one after the other.
pub(crate) struct Doubtful {
    publisher: Publisher,
    ids: Arc<watch::Sender<Vec<String>>>,
    /// Taken when started.
    orders: Mutex<Option<mpsc::UnboundedReceiver<Order>>>,
}

impl Doubtful {
    pub(crate) fn new(publisher: Publisher) -> (Self, Doubt) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ids = Arc::new(watch::Sender::new(Vec::new()));
        let doubt = Doubt { orders: sender, ids: Arc::clone(&ids) };
        (Self { publisher, ids, orders: Mutex::new(Some(receiver)) }, doubt)
    }
}

#[async_trait]
impl Component for Doubtful {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(orders) = orders else { return Ok(()) };
        let settling = settle(ctx.clone(), orders, self.publisher.clone(), Arc::clone(&self.ids));
        tokio::spawn(settling);
        Ok(())
    }

    async fn stop(&self, ctx: &Context) -> String {
        let mut ids = self.ids.subscribe();
        let settled = async {
            let _ = ids.wait_for(Vec::is_empty).await;
        };
        match ctx.run(settled).await {
            Ok(()) => "no order in doubt".to_owned(),
            Err(_) => format!("{} orders in doubt", self.ids.borrow().len()),
        }
    }

    fn in_flight(&self) -> Vec<String> {
        self.ids.borrow().iter().map(|id| format!("order {id}, in doubt")).collect()
    }
}

async fn settle(
    ctx: Context,
    mut orders: mpsc::UnboundedReceiver<Order>,
    publisher: Publisher,
    ids: Arc<watch::Sender<Vec<String>>>,
) {
    while let Ok(Some(order)) = ctx.run(orders.recv()).await {
        let (id, request_id) = (&order.id, &order.request_id);
        let Ok(message) = about(CREATED, &order) else { continue };
        match publisher.publish_until_known(&ctx, message).await {
            Ok(()) => {
                tracing::info!(request_id, order = id, "order is out of doubt");
                ids.send_modify(|ids| ids.retain(|doubtful| doubtful != id));
            }
            // It stays on the list, and the report names it.
            Err(error) => tracing::error!(request_id, order = id, %error, "order stays in doubt"),
        }
    }
}
