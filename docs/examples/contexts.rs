//! The smallest real program: a budget for a query, a drain, and a cause.

// ANCHOR: main
use std::time::Duration;

use downhaul_context::{Cause, Context};

async fn price(ctx: &Context, product: u32) -> Result<u32, Cause> {
    // A tenth of a second, or what the caller has left if that is less.
    let limit = Duration::from_millis(100);
    let (query, _canceller) = ctx.derive().label("db.price").timeout(limit).build();
    query.run(async { product * 2 }).await
}

#[tokio::main]
async fn main() -> Result<(), Cause> {
    let (service, stop) = Context::root();
    let (request, _canceller) = service.with_timeout(Duration::from_secs(2));
    assert_eq!(price(&request, 21).await?, 42);

    // SIGTERM came: take nothing new, finish what is begun.
    stop.drain(Duration::from_secs(30));
    assert!(request.is_draining());
    assert_eq!(price(&request, 21).await?, 42);

    // A second one: stop now.
    stop.cancel();
    let Err(cause) = price(&request, 21).await else { panic!("the request is over") };
    println!("{cause}"); // cancelled: at src/main.rs:26:10
    Ok(())
}
// ANCHOR_END: main
