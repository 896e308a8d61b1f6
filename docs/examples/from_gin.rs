//! The service that articles about Gin build: a timeout, a value of the request, a group behind a
//! token, work in the background, and a graceful shutdown.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use downhaul_context::{Context, RequestId};
use downhaul_http::{DrainPlan, Error, HeaderValue, Json, Next, Request, Router, Server};
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

struct Shop {
    mails: mpsc::Sender<Mail>,
}

/// Work for later, with the values of the request that has asked for it.
struct Mail {
    ctx: Context,
    text: String,
}

// ANCHOR: middleware
struct User(String);

// func auth(c *gin.Context) {
//     user, err := check(c.GetHeader("Authorization"))
//     if err != nil { c.AbortWithStatusJSON(401, gin.H{"error": "…"}); return }
//     c.Set("user", user)
//     c.Next()
// }
async fn auth(
    ctx: Context,
    req: Request<Arc<Shop>>,
    next: Next<Arc<Shop>>,
) -> Result<Response, Error> {
    let token = req.headers().get("authorization").and_then(|value| value.to_str().ok());
    let Some(name) = token.and_then(|token| token.strip_prefix("Bearer ")) else {
        let message = "send `Authorization: Bearer` and your token";
        return Err(Error::unauthorized(HeaderValue::from_static("Bearer"), message));
    };
    Ok(next.run(ctx.with_value(User(name.to_owned())), req).await)
}
// ANCHOR_END: middleware

// ANCHOR: handler
#[derive(serde::Deserialize)]
struct Order {
    item: String,
}

// func create(c *gin.Context) {
//     var order Order
//     if err := c.ShouldBindJSON(&order); err != nil { c.JSON(400, …); return }
//     if err := charge(c.Request.Context(), order); err != nil { c.JSON(500, …); return }
//     copied := c.Copy()
//     mails <- Mail{copied, …}
//     c.JSON(201, …)
// }
async fn create(
    ctx: Context,
    mut req: Request<Arc<Shop>>,
) -> Result<(StatusCode, Json<String>), Error> {
    let order: Order = req.json().await?;
    let User(name) = ctx.value().ok_or_else(|| Error::internal("not behind `auth`"))?;
    ctx.run(charge(&order)).await?; // at the deadline: 504, and the charge is dropped
    let text = format!("{name} has ordered {}", order.item);
    // It outlives the request, keeps its values and has a time of its own.
    let (detached, canceller) = ctx.detached().with_timeout(Duration::from_secs(30));
    canceller.disarm();
    let mail = Mail { ctx: detached, text: text.clone() };
    ctx.run(req.state().mails.send(mail)).await?.map_err(|_| Error::unavailable("we close"))?;
    Ok((StatusCode::CREATED, Json(text)))
}
// ANCHOR_END: handler

async fn charge(order: &Order) {
    let takes = if order.item == "gold" { Duration::from_secs(60) } else { Duration::ZERO };
    sleep(takes).await;
}

// ANCHOR: worker
// go func() {
//     for { select { case mail := <-mails: deliver(mail); case <-ctx.Done(): return } }
// }()
async fn work(ctx: Context, mut mails: mpsc::Receiver<Mail>) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let mail = tokio::select! {
            biased; // what is there is done before it stops
            mail = mails.recv() => mail,
            () = ctx.draining() => None,
        };
        let Some(Mail { ctx, text }) = mail else { return sent };
        let id = ctx.value::<RequestId>().map(ToString::to_string).unwrap_or_default();
        if ctx.run(deliver(&text)).await.is_ok() {
            sent.push(format!("{text} ({id})"));
        }
    }
}
// ANCHOR_END: worker

/// Stands for the post.
async fn deliver(_text: &str) {
    yield_now().await;
}

async fn lost(_ctx: Context, req: Request<Arc<Shop>>) -> Error {
    Error::not_found(format!("there is no {} in this shop", req.uri().path()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: main
    let (service, canceller) = Context::root();
    let (mails, received) = mpsc::channel(100);
    let worker = tokio::spawn(work(service.clone(), received));

    // r := gin.New(); r.Use(gin.Recovery(), gin.Logger(), timeout.New(…))
    // api := r.Group("/api"); api.Use(auth); api.POST("/orders", create); r.NoRoute(lost)
    let shop = Arc::new(Shop { mails });
    let api = Router::with_state(Arc::clone(&shop)).post("/orders", create).middleware(auth);
    let router = Router::with_state(shop).nest("/api", api).fallback(lost);
    let server = Server::bind("127.0.0.1:0").await?.timeout(Duration::from_millis(500));
    let running = server.serve(service, router);
    // ANCHOR_END: main

    let url = format!("http://{}", running.address());
    let client = reqwest::Client::new();
    let order = async |token: &str, json: &'static str| {
        let post = client.post(format!("{url}/api/orders")).body(json);
        post.header("authorization", token).send().await
    };
    let created = order("Bearer ada", r#"{"item":"tea"}"#).await?;
    let id = created.headers()["x-request-id"].to_str()?.to_owned();
    assert_eq!(
        (created.status(), created.text().await?),
        (201.try_into()?, r#""ada has ordered tea""#.into())
    );
    assert_eq!(order("", "{}").await?.status(), 401);
    let wrong = order("Bearer ada", r#"{"item":7}"#).await?;
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await?.contains("at `item`"));
    assert_eq!(order("Bearer ada", r#"{"item":"gold"}"#).await?.status(), 504);
    assert_eq!(client.get(format!("{url}/nowhere")).send().await?.status(), 404);

    // ANCHOR: shutdown
    // ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
    // defer cancel(); srv.Shutdown(ctx); close(mails); wg.Wait()
    let report = running.drain(DrainPlan::within(Duration::from_secs(5)).without_lame_duck()).await;
    assert!(report.is_clean(), "{report}"); // or it names each request that was cut
    canceller.drain(Duration::from_secs(5));
    let sent = worker.await?;
    // ANCHOR_END: shutdown
    assert_eq!(sent, [format!("ada has ordered tea ({id})")]);
    Ok(())
}
