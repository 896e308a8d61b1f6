//! A service whose outbox is published by a component, also after its broker was away.

use std::sync::Arc;

use downhaul::consumer::outbox::{Backlog, Relay, RelayHandle, SqliteOutbox};
use downhaul::consumer::{Broker, MemoryBroker, Message, Outgoing, Publisher, Subscription};
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, BrokerLink, Context, MessageSpans, RelayWorker, Task};
use downhaul_consumer::rusqlite::Connection;

// ANCHOR: service
fn service(broker: Arc<dyn Broker>, outbox: SqliteOutbox) -> (App, RelayHandle) {
    let publisher = Publisher::with_observer(broker.clone(), Arc::new(MessageSpans));
    let relay = Relay::new(Arc::new(outbox), publisher.clone());
    let looks = relay.handle();

    let mut app = App::new("shop");
    let link = app.add("broker", BrokerLink::new(broker, publisher), []);
    let outbox = app.add("outbox", RelayWorker::new(relay), [link]);
    // It stops before the relay, so that what it has written last goes out.
    app.add("orders", Task::new(until_draining), [outbox]);
    (app, looks)
}
// ANCHOR_END: service

async fn until_draining(ctx: Context) -> std::io::Result<()> {
    ctx.draining().await;
    Ok(())
}

fn place(db: &mut Connection, outbox: &SqliteOutbox, number: u32) -> Result<(), BoxError> {
    let tx = db.transaction()?;
    let created = Outgoing::to_topic("order.created", Message::json(&number)?);
    outbox.enqueue(&Context::background(), &tx, &created)?;
    tx.commit()?;
    outbox.notify();
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.db");
    let (outbox, mut db) = (SqliteOutbox::open(&path).await?, Connection::open(&path)?);
    let broker = Arc::new(MemoryBroker::new());
    let inventory = Subscription::new("inventory").topic("order.created");
    drop(broker.source(&Context::background(), &inventory).await?);

    let (app, looks) = service(broker.clone(), outbox.clone());
    let app = TestApp::start(app).await;

    broker.set_reachable(false);
    place(&mut db, &outbox, 7)?;
    place(&mut db, &outbox, 8)?;
    // ANCHOR: looks
    let seen = looks.wait_for(|seen| seen.stall.is_some()).await;
    let stall = seen.stall.expect("for 10 s nothing came through");
    println!("since {:?}: {}", stall.since.elapsed(), stall.error);
    // ANCHOR_END: looks
    assert_eq!(app.handle().not_ready(), None);
    let waits = |backlog: Backlog| (backlog.unpublished(), backlog.dead) == (2, 0);
    looks.wait_for(|seen| seen.backlog.is_some_and(waits)).await;

    broker.set_reachable(true);
    looks.wait_for(|seen| seen.published == 2).await;
    let report = app.stop().await;
    assert_eq!(report.component("outbox").words, "2 messages published, 0 left in the outbox");
    report.assert_clean();
    Ok(())
}
