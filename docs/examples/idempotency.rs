//! A payment that is sent twice and made once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::idempotency::{Idempotency, IdempotencyKey, MemoryStore};
use downhaul_http::{Error, Json, OnDisconnect, Request, RouteLimits, Router, Server};
use tokio::time::sleep;

#[derive(Default)]
struct Bank {
    payments: AtomicU64,
}

async fn pay(ctx: Context, req: Request<Bank>) -> Result<Json<String>, Error> {
    // Others who want a key get the same.
    let key = ctx.value::<IdempotencyKey>().ok_or_else(|| Error::internal("no key"))?;
    ctx.run(sleep(Duration::from_millis(100))).await?;
    let number = req.state().payments.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Json(format!("payment {number} by {key}")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: router
    let payments = Router::with_state(Bank::default())
        .post("/payments", pay)
        // What a client has begun is finished, so that it finds the answer when it comes back.
        .limits(RouteLimits::new().on_disconnect(OnDisconnect::Finish))
        .idempotency(Idempotency::new(MemoryStore::new()).required());
    // ANCHOR_END: router
    let server = Server::bind("127.0.0.1:0").await?;
    let running = server.serve(Context::background(), payments);
    let url = format!("http://{}/payments", running.address());
    let client = reqwest::Client::new();

    // ANCHOR: client
    let pay = |amount: &'static str| {
        client.post(&url).header("idempotency-key", "8e03978e").body(amount).send()
    };
    // The client loses patience, and does not know whether it has paid.
    assert!(tokio::time::timeout(Duration::from_millis(50), pay("10")).await.is_err());

    // It asks again with the same key: 409 while the first is worked on, its answer then.
    let mut answer = pay("10").await?;
    while answer.status() == 409 {
        sleep(Duration::from_millis(20)).await;
        answer = pay("10").await?;
    }
    assert_eq!(answer.headers()["idempotent-replayed"], "true");
    assert_eq!(answer.text().await?, r#""payment 1 by 8e03978e""#);

    // The same key for another payment is a mistake.
    assert_eq!(pay("11").await?.status(), 422);
    // ANCHOR_END: client
    Ok(())
}
