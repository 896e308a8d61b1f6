//! That a broker is away, as its consumers say it.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use downhaul_consumer::{Consumer, Incoming, MemoryBroker, Message, State};
use downhaul_context::Context;

use crate::support::{SECOND, at_words, subscription};

/// Each of many consumers would say so at each attempt, in an outage that one broker explains.
#[tokio::test(start_paused = true)]
async fn that_a_broker_is_away_is_said_once_and_so_is_that_it_is_back() {
    for (words, times) in [("no link to the broker", 1), ("the link to the broker is back", 1)] {
        let said = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&said);
        let count = move || _ = counted.fetch_add(1, Ordering::SeqCst);
        let _lines = at_words(words, count);
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        broker.set_reachable(false);
        let nothing = |_: Context, _: Incoming<Message>| ready(());
        let handle = Consumer::new(subscription(), nothing).spawn(&ctx, Arc::new(broker.clone()));
        tokio::time::sleep(60 * SECOND).await; // tidy: on the paused clock
        broker.set_reachable(true);
        assert_eq!(handle.settled().await, State::Running);
        assert_eq!(said.load(Ordering::SeqCst), times, "{words}");
    }
}
