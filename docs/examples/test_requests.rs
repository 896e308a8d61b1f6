//! A request in a test, from the client to the consumer, and its trace.

use std::sync::Arc;

use downhaul::consumer::{Broker, Consumer, Failure, Incoming, MemoryBroker, Message};
use downhaul::consumer::{Outgoing, Publisher, Subscription};
use downhaul::http::{Connector, Error, Request, Router};
use downhaul::testing::{Client, SpanRecorder, TestApp};
use downhaul::{App, BrokerLink, ConsumerWorker, Context, HttpServer, MessageSpans};

async fn reserve(_ctx: Context, _order: Incoming<Message>) -> Result<(), Failure> {
    Ok(())
}

// ANCHOR: service
fn service(broker: Arc<dyn Broker>) -> (App, Connector) {
    let publisher = Publisher::with_observer(broker.clone(), Arc::new(MessageSpans));
    let (http, connector) = HttpServer::in_memory(router(publisher.clone()));

    let mut app = App::new("shop");
    let link = app.add("broker", BrokerLink::new(broker.clone(), publisher), []);
    let reserve = Consumer::new(Subscription::new("inventory").topic("order"), reserve);
    let reserve = app.add("inventory", ConsumerWorker::new(reserve, broker), [link]);
    app.add("http", http, [reserve]);
    (app, connector)
}
// ANCHOR_END: service

fn router(publisher: Publisher) -> Router {
    Router::new().post("/orders", move |ctx: Context, _req: Request| {
        let publisher = publisher.clone();
        async move {
            let order = Outgoing::to_topic("order", Message::new("7"));
            publisher.publish(&ctx, order).await.map_err(Error::internal)
        }
    })
}

// ANCHOR: trace
// In a test this is `#[tokio::test(start_paused = true)]`.
async fn an_order_is_one_trace() {
    let spans = SpanRecorder::start();
    let (app, connector) = service(Arc::new(MemoryBroker::new()));
    let app = TestApp::start(app).await;

    assert_eq!(Client::new(connector).post("/orders", "{}").await.status(), 200);
    app.stop().await.assert_clean();

    let request = spans.named("POST /orders");
    let (publish, process) = (spans.named("publish order"), spans.named("process inventory"));
    assert!(publish.is_child_of(&request) && process.is_child_of(&publish));
    assert_eq!(process.attributes["request_id"], request.attributes["request_id"]);
}
// ANCHOR_END: trace

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    an_order_is_one_trace().await;
}
