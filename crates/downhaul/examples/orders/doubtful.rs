//! Orders that may or may not be with the broker, because it did not answer in time.
//!
//! Their messages are sent again, with the same ids, until the broker answers. Without that, an
//! order whose message was lost with the link would be pending for ever.

use std::sync::Arc;

use downhaul::consumer::Publisher;
use downhaul::{BoxError, Context, Task};
use tokio::sync::watch;

use crate::broker::Links;
use crate::messages::{CREATED, Order, about};

/// The orders that are in doubt. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Doubt(Arc<watch::Sender<Vec<Doubtful>>>);

struct Doubtful {
    order: Order,
    /// Whether to try it again.
    open: bool,
}

impl Doubt {
    pub(crate) fn cast(&self, order: Order) {
        self.0.send_modify(|all| all.push(Doubtful { order, open: true }));
    }

    /// Settles doubts, one after the other, and all of them before it stops.
    pub(crate) fn settler(&self, links: &Links) -> Task {
        let (doubt, publisher) = (self.clone(), links.publisher.clone());
        let (counted, named) = (self.clone(), self.clone());
        Task::new(move |ctx| doubt.clone().settle(ctx, publisher.clone()))
            .last_words(move || match counted.0.borrow().len() {
                0 => "no order in doubt".to_owned(),
                count => format!("{count} orders in doubt"),
            })
            .unfinished(move || {
                let all = named.0.borrow();
                all.iter().map(|one| format!("order {}, in doubt", one.order.id)).collect()
            })
    }

    async fn settle(self, ctx: Context, publisher: Publisher) -> Result<(), BoxError> {
        while let Some(order) = self.next(&ctx).await {
            let (id, request_id) = (&order.id, &order.request_id);
            match publisher.publish_until_known(&ctx, about(CREATED, &order)?).await {
                Ok(()) => {
                    tracing::info!(request_id, order = id, "order is out of doubt");
                    self.0.send_modify(|all| all.retain(|one| one.order.id != *id));
                }
                Err(error) => {
                    tracing::error!(request_id, order = id, %error, "order stays in doubt");
                    self.leave(id);
                }
            }
        }
        Ok(())
    }

    /// The next order to try; none when the service stops and nothing is left to try.
    async fn next(&self, ctx: &Context) -> Option<Order> {
        let mut all = self.0.subscribe();
        tokio::select! {
            biased;
            _ = ctx.done() => None,
            open = all.wait_for(|all| all.iter().any(|one| one.open)) => {
                open.ok()?.iter().find(|one| one.open).map(|one| one.order.clone())
            }
            () = ctx.draining() => None,
        }
    }

    /// It stays on the list, and the report names it.
    fn leave(&self, id: &str) {
        self.0.send_modify(|all| {
            all.iter_mut().filter(|one| one.order.id == id).for_each(|one| one.open = false);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use downhaul::consumer::testing::FaultyBroker;
    use downhaul::consumer::{Broker, MemoryBroker, Subscription};
    use downhaul::testing::TestApp;
    use downhaul::{App, BrokerLink, Ending};

    use super::*;

    /// A service of nothing but doubts.
    async fn start(broker: &FaultyBroker, doubt: &Doubt) -> TestApp {
        // Somebody takes the messages, or they would be refused.
        let created = Subscription::new("inventory").topic(CREATED);
        broker.source(&Context::background(), &created).await.unwrap();
        let links = Links::over(Arc::new(broker.clone()));
        let mut app = App::new("orders");
        let link = BrokerLink::new(Arc::clone(&links.broker), links.publisher.clone());
        let link = app.add("broker", link, []);
        app.add("doubtful", doubt.settler(&links), [link]);
        TestApp::start(app).await
    }

    fn order(id: &str) -> Order {
        let (id, product) = (id.to_owned(), "p-1".to_owned());
        Order { id, product, quantity: 1, request_id: "r".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn orders_are_out_of_doubt_before_the_service_stops() {
        let memory = Arc::new(MemoryBroker::new());
        let broker = FaultyBroker::over(memory.clone());
        let doubt = Doubt::default();
        let app = start(&broker, &doubt).await;
        broker.faults().lose_publishes(3);
        doubt.cast(order("a"));
        doubt.cast(order("b"));
        let report = app.stop().await;
        report.assert_clean();
        assert_eq!(report.component("doubtful").words, "no order in doubt");
        assert_eq!(broker.faults().incidents().len(), 3, "it was tried until it was known");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_stays_in_doubt_is_named_and_costs_its_share_of_the_grace() {
        let broker = FaultyBroker::over(Arc::new(MemoryBroker::new()));
        let doubt = Doubt::default();
        let app = start(&broker, &doubt).await;
        broker.faults().lose_publishes(10_000);
        doubt.cast(order("a"));
        let report = app.stop().await;
        assert_eq!(report.ending, Ending::CutShort);
        let doubtful = report.component("doubtful");
        assert_eq!(doubtful.words, "1 orders in doubt");
        assert_eq!(doubtful.unfinished, ["order a, in doubt"]);
        assert!(doubtful.took > Duration::from_secs(20), "{report}");
    }
}
