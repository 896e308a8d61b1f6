//! Orders that are published because they were written, and have their effects once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use downhaul_consumer::inbox::{Claim, Commit, Inbox, MemoryInbox, SqliteInbox};
use downhaul_consumer::outbox::{Outbox, Relay, SqliteOutbox};
use downhaul_consumer::rusqlite::{self, Connection, TransactionBehavior};
use downhaul_consumer::{Consumer, Failure, Incoming, Json, MemoryBroker, Message, Outgoing};
use downhaul_consumer::{Publisher, State, Subscription};
use downhaul_context::Context;
use tokio::time::sleep;

#[derive(Clone)]
struct Shop {
    path: PathBuf,
    inbox: SqliteInbox,
    outbox: SqliteOutbox,
}

// ANCHOR: place
fn place(shop: &Shop, ctx: &Context, number: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut db = Connection::open(&shop.path)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO orders VALUES (?1)", [number])?;
    // Both are there, or neither is.
    shop.outbox.enqueue(ctx, &tx, &created(number)?)?;
    tx.commit()?;
    shop.outbox.notify(); // the relay need not wait for its next look
    Ok(())
}

fn created(number: u32) -> Result<Outgoing, Box<dyn std::error::Error>> {
    let message = Message::json(&number)?.with_id(format!("order-{number}.created"));
    let message = message.with_key(format!("order-{number}"));
    Ok(Outgoing::to_topic("order.created", message))
}
// ANCHOR_END: place

// ANCHOR: record
fn reserve(shop: &Shop, id: &str) -> rusqlite::Result<()> {
    let mut db = Connection::open(&shop.path)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if shop.inbox.record(&tx, "inventory", id)? {
        tx.execute("UPDATE stock SET pieces = pieces - 1", ())?;
        tx.commit()?;
    } // else it is a duplicate, and there is nothing to do
    Ok(())
}
// ANCHOR_END: record

// ANCHOR: claim
async fn confirm_by_mail(inbox: &dyn Inbox, mail: &Mail, id: &str) -> Result<(), Failure> {
    let lease = Duration::from_secs(60); // longer than the work may take
    let ticket = match inbox.claim("mail", id, lease).await? {
        Claim::Fresh(ticket) => ticket,
        Claim::Done => return Ok(()), // a duplicate
        Claim::Held { left } => return Err(Failure::retry_after(left, "another works on it")),
    };
    if let Err(error) = mail.send(id).await {
        inbox.release(&ticket).await?; // or the next attempt would wait for the lease
        return Err(error.into());
    }
    if inbox.commit(&ticket).await? == Commit::Lost {
        tracing::warn!(id, "it took longer than the lease: the mail may have been sent twice");
    }
    Ok(())
}
// ANCHOR_END: claim

/// A mail server that has its moments.
#[derive(Default)]
struct Mail {
    asked: AtomicU32,
    sent: AtomicU32,
}

impl Mail {
    async fn send(&self, _id: &str) -> std::io::Result<()> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(std::io::Error::other("the mail server is busy"));
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn inventory(shop: &Shop) -> Consumer {
    let shop = shop.clone();
    let subscription = Subscription::new("inventory").topic("order.created");
    // ANCHOR: handler
    Consumer::new(subscription, move |_ctx: Context, order: Incoming<Json<u32>>| {
        let shop = shop.clone();
        // SQLite blocks, so it is asked on a thread that may.
        let reserved = tokio::task::spawn_blocking(move || reserve(&shop, order.id()));
        async move { Ok::<(), Failure>(reserved.await??) }
    })
    // ANCHOR_END: handler
}

fn confirmations(inbox: Arc<dyn Inbox>, mail: Arc<Mail>) -> Consumer {
    let subscription = Subscription::new("mail").topic("order.created");
    Consumer::new(subscription, move |_ctx: Context, order: Incoming<Json<u32>>| {
        let (inbox, mail) = (Arc::clone(&inbox), Arc::clone(&mail));
        async move { confirm_by_mail(&*inbox, &mail, order.id()).await }
    })
}

async fn set_up(path: PathBuf) -> Result<Shop, Box<dyn std::error::Error>> {
    // ANCHOR: open
    let inbox = SqliteInbox::open(&path).await?;
    let outbox = SqliteOutbox::open(&path).await?;
    // ANCHOR_END: open
    let tables = "CREATE TABLE orders (number INTEGER); CREATE TABLE stock (pieces INTEGER);
        INSERT INTO stock VALUES (10)";
    Connection::open(&path)?.execute_batch(tables)?;
    Ok(Shop { path, inbox, outbox })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let shop = set_up(folder.path().join("shop.db")).await?;
    let broker = Arc::new(MemoryBroker::new());
    let (service, canceller) = Context::root();

    let mail = Arc::new(Mail::default());
    let stock = inventory(&shop).spawn(&service, broker.clone());
    let mails = confirmations(Arc::new(MemoryInbox::new()), Arc::clone(&mail))
        .spawn(&service, broker.clone());
    assert_eq!((stock.settled().await, mails.settled().await), (State::Running, State::Running));

    // ANCHOR: relay
    let relay = Relay::new(Arc::new(shop.outbox.clone()), Publisher::new(broker.clone()));
    let relaying = tokio::spawn({
        let service = service.clone();
        async move { relay.run(&service).await } // until the service drains
    });
    // ANCHOR_END: relay

    // ANCHOR: twice
    place(&shop, &service, 7)?;
    place(&shop, &service, 8)?;
    // As after a crash of the relay: the message is published once more.
    Publisher::new(broker).publish(&service, created(7)?).await?;
    // ANCHOR_END: twice

    while stock.tally().acked + mails.tally().acked < 6 {
        sleep(Duration::from_millis(1)).await;
    }
    // ANCHOR: once
    let stock = Connection::open(&shop.path)?;
    let pieces: u32 = stock.query_row("SELECT pieces FROM stock", (), |row| row.get(0))?;
    assert_eq!(pieces, 8); // of 10: three messages, two orders
    assert_eq!(mail.sent.load(Ordering::Relaxed), 2);
    // ANCHOR_END: once

    canceller.drain(Duration::from_secs(30));
    relaying.await?;
    // ANCHOR: backlog
    let backlog = shop.outbox.backlog().await?;
    assert_eq!((backlog.pending, backlog.in_flight, backlog.dead), (0, 0, 0));
    for row in shop.outbox.dead(100).await? {
        println!("{} since {:?}: {}", row.number, row.since, row.error);
    }
    shop.outbox.retry_all_dead().await?; // once the cause is mended
    // ANCHOR_END: backlog
    Ok(())
}
