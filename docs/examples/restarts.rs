//! What is started again, what the service can do without, and what is done by hand.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use downhaul::{App, BoxError, Context, Ending, Policy, Restart, State, Task};

/// How often the prices were fetched anew.
#[derive(Default)]
struct Prices {
    fetched: AtomicU32,
}

impl Prices {
    /// Keeps them fresh. The first time, the shop that they come from hangs up.
    async fn refresh(self: Arc<Self>, ctx: Context) -> io::Result<()> {
        if self.fetched.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::other("the other side hung up"));
        }
        ctx.draining().await;
        Ok(())
    }
}

async fn tweet(_ctx: Context) -> io::Result<()> {
    Err(io::Error::other("no such user"))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let prices = Arc::new(Prices::default());
    let fresh = Arc::clone(&prices);

    let mut app = App::new("shop");
    // ANCHOR: policies
    let refresh = Task::new(move |ctx| Arc::clone(&fresh).refresh(ctx));
    let refresh = app.add("prices", refresh, []);
    app.policy(refresh, Policy::new().restart(Restart::new()));

    let tweets = app.add("tweets", Task::new(tweet), []);
    app.policy(tweets, Policy::new().optional());
    // ANCHOR_END: policies

    let handle = app.handle();
    let running = tokio::spawn(app.run());
    while prices.fetched.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }

    // ANCHOR: by_hand
    // Up already, or on its way: this waits until it is.
    let status = handle.start(refresh).await?;
    assert_eq!((status.state, status.starts), (State::Running, 2));

    let status = handle.stop(refresh).await?;
    assert_eq!(status.state, State::Stopped);
    assert_eq!(handle.not_ready().as_deref(), Some("prices is stopped"));

    let status = handle.restart(refresh).await?;
    assert_eq!((status.state, status.starts), (State::Running, 3));
    // ANCHOR_END: by_hand
    assert_eq!(handle.not_ready(), None, "the service can do without tweets");

    handle.stop_app("it has shown what it can").await;
    let report = running.await?;
    println!("{report}");
    assert_eq!(report.ending, Ending::Clean);
    Ok(())
}
