//! Errors with their context: three layers, one line, a tree, and what becomes of them.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Consumer, Failure, Incoming, MemoryBroker, Message, Outgoing, Publisher};
use downhaul_consumer::{Subscription, headers};
use downhaul_context::{Cause, Class, Context, Kind, RequestId, ResultExt, Traced, TracedError};
use downhaul_http::{Error, Json, Request, Router, Server};

const MS: Duration = Duration::from_millis(1);

/// What is printed here is what the book shows.
const PAGE: &str = include_str!("../src/errors.md");

#[track_caller]
fn assert_shown(text: &str) {
    println!("{text}\n");
    assert!(PAGE.contains(text), "the book does not show:\n{text}");
}

// ANCHOR: repository
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("the query failed")]
    Failed(#[source] io::Error),
    #[error("the query was not finished")]
    Ended(#[source] Cause),
}

async fn find_order(ctx: &Context, db: &Db, id: u64) -> Result<u64, Traced<QueryError>> {
    let query = format!("SELECT price FROM orders WHERE id = {id}");
    let row = ctx.run(db.row(&query)).await.map_err(QueryError::Ended);
    let price = row.and_then(|row| row.map_err(QueryError::Failed));
    price.layer(ctx, "repo.find_order").kv("query", &query)
}
// ANCHOR_END: repository

// ANCHOR: service
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("order {0} is sold out")]
    SoldOut(u64),
    #[error("the orders cannot be read")]
    Store(#[source] QueryError),
}

async fn order(ctx: &Context, db: &Db, user: &User, id: u64) -> Result<u64, Traced<OrderError>> {
    let found = find_order(ctx, db, id).await.map_kind(OrderError::Store);
    let price = found.layer(ctx, "orders.get").kv("user_id", user.id).kv_secret("card", user.card);
    match price? {
        0 => Err(Traced::new(ctx, "orders.get", OrderError::SoldOut(id)).kv("user_id", user.id)),
        price => Ok(price),
    }
}
// ANCHOR_END: service

// ANCHOR: kind
impl Kind for OrderError {
    fn class(&self) -> Class {
        match self {
            Self::SoldOut(_) => Class::Conflict,
            Self::Store(QueryError::Failed(error)) => error.class(),
            Self::Store(QueryError::Ended(cause)) => cause.class(),
        }
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::SoldOut(_) => "order.sold_out",
            Self::Store(_) => "order.store",
        }
    }

    fn is_permanent(&self) -> bool {
        matches!(self, Self::SoldOut(_))
    }

    fn public(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::SoldOut(_)).then_some("this order is sold out".into())
    }
}
// ANCHOR_END: kind

// ANCHOR: handler
async fn get_order(ctx: Context, req: Request<Db>) -> Result<Json<u64>, Error> {
    let (id, user) = (req.param("id")?, User { id: 42, card: "4000 0012" });
    let price = order(&ctx, req.state(), &user, id).await.layer(&ctx, "http.get_order")?;
    Ok(Json(price))
}
// ANCHOR_END: handler

// ANCHOR: consumer
async fn order_created(ctx: Context, id: Incoming<Message>) -> Result<(), Failure> {
    let (db, user) = (Db::Answers(0), User { id: 42, card: "4000 0012" });
    order(&ctx, &db, &user, 7).await.layer(&ctx, "order.created").kv("message", id.id())?;
    Ok(())
}
// ANCHOR_END: consumer

struct User {
    id: u64,
    card: &'static str,
}

/// A database that does what the example wants.
#[derive(Clone, Copy)]
enum Db {
    Answers(u64),
    Refuses,
    Hangs,
}

impl Db {
    async fn row(self, _query: &str) -> io::Result<u64> {
        match self {
            Self::Answers(price) => Ok(price),
            Self::Refuses => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"))
            }
            Self::Hangs => std::future::pending().await,
        }
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn StdError>> {
    let request = Context::background().with_value(RequestId::parse("01a20b44")?);
    refused(&request).await;
    cut_short(&request).await;
    tokio::time::resume();
    answered().await?;
    given_up(&request).await
}

async fn fails(ctx: &Context, db: Db) -> Traced<OrderError> {
    let user = User { id: 42, card: "4000 0012" };
    let price = order(ctx, &db, &user, 7).await.layer(ctx, "http.get_order");
    price.err().unwrap_or_else(|| unreachable!("the database fails"))
}

async fn refused(request: &Context) {
    let (ctx, _canceller) = request.with_timeout(2_000 * MS);
    tokio::time::advance(12 * MS).await;
    let error = fails(&ctx, Db::Refuses).await;
    assert_shown(&error.to_string());
    assert_shown(&format!("{error:#}"));
    looked_at(error);
}

// ANCHOR: look
fn looked_at(error: Traced<OrderError>) {
    // What the layers said, for a log with fields.
    let layers: Vec<&str> = error.layers().map(|layer| layer.name()).collect();
    assert_eq!(layers, ["http.get_order", "orders.get", "repo.find_order"]);

    // What it is, and what is behind it: by type, never by text.
    assert!(matches!(error.error(), OrderError::Store(_)));
    let refused = error.find::<io::Error>().map(io::Error::kind);
    assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
    assert!(!error.is_cancelled() && !error.is_deadline());

    // As any other error: the sources are all there, and no text comes twice.
    let boxed: Box<dyn StdError + Send + Sync> = error.into();
    assert!(boxed.source().is_some_and(|source| source.is::<OrderError>()));
    assert_eq!(TracedError::find(&*boxed).map(|error| error.error_type()), Some("order.store"));
}
// ANCHOR_END: look

async fn cut_short(request: &Context) {
    let (ctx, _canceller) = request.derive().label("GET /orders/{id}").timeout(250 * MS).build();
    let error = fails(&ctx, Db::Hangs).await;
    assert!(error.is_deadline());
    assert_eq!(error.class(), Class::Timeout);
    let line = error.to_string();
    // What comes after it depends on the timer.
    let (line, _) = line.split_once(", elapsed").unwrap_or((&line, ""));
    assert_shown(line);
}

async fn answered() -> Result<(), Box<dyn StdError>> {
    for (db, status) in [(Db::Refuses, 503), (Db::Answers(0), 409)] {
        let router = Router::with_state(db).get("/orders/{id}", get_order);
        let server = Server::bind("127.0.0.1:0").await?;
        let running = server.serve(Context::background(), router);
        let address = running.address().tcp().ok_or("no address")?;
        let call = reqwest::Client::new().get(format!("http://{address}/orders/7"));
        let answer = call.header("x-request-id", "01a20b44").send().await?;
        assert_eq!(answer.status().as_u16(), status);
        assert_shown(&answer.text().await?);
    }
    Ok(())
}

async fn given_up(request: &Context) -> Result<(), Box<dyn StdError>> {
    let broker = MemoryBroker::new();
    let subscription = Subscription::new("orders").topic("order.created");
    let consumer = Consumer::new(subscription, order_created);
    let consumer = consumer.spawn(&Context::background(), Arc::new(broker.clone()));
    consumer.settled().await;
    let publisher = Publisher::new(Arc::new(broker.clone()));
    let message = Message::new("").with_id("m-1");
    publisher.publish(request, Outgoing::to_topic("order.created", message)).await?;
    while broker.depth("orders.dead").ready == 0 {
        tokio::task::yield_now().await;
    }
    let dead = broker.ready("orders.dead").remove(0);
    assert_shown(dead.headers().get(headers::DEAD_REASON).unwrap_or_default());
    Ok(())
}
