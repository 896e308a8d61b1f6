//! `ruststream`, as its documentation has it: a handler in an app, and a publisher of its broker.

use std::future::{pending, ready};
use std::num::NonZeroUsize;
use std::sync::Arc;

use ruststream::memory::prelude::*;
use tokio::runtime::Runtime;

use super::ours::{Count, runtime};
use super::{BURST, PAYLOAD, carry};
use crate::bare::{Bare, Parcel};
use crate::lap::{Lap, Reading};

struct Counting(Arc<Count>);

impl<'p> Handle<Bare<'p>> for Counting {
    fn handle(
        &self,
        message: &Bare<'p>,
        _outs: &(),
        _ctx: &mut Context<'_>,
    ) -> impl Future<Output = Result<(), HandlerOutcome>> {
        assert_eq!(message.0.len(), PAYLOAD.len());
        self.0.one();
        ready(Ok(()))
    }
}

/// An app that runs, and the runtime that it and its publisher share.
pub(super) struct Framework {
    runtime: Runtime,
    broker: MemoryBroker,
    count: Arc<Count>,
}

impl Framework {
    pub(super) fn new(workers: u16) -> Self {
        let (runtime, broker) = (runtime(), MemoryBroker::new());
        let count = Arc::new(Count::default());
        let counting = Counting(Arc::clone(&count));
        let workers = NonZeroUsize::new(workers.into()).expect("not zero");
        let app = RustStream::new(AppInfo::new("bench", "0.1.0"));
        let app = app.with_broker(broker.clone(), |broker| {
            broker.include(subscriber("t", counting).workers(workers).build());
        });
        runtime.spawn(async move { app.run_until(pending()).await });
        // What is published before it subscribes is lost.
        runtime.block_on(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        Self { runtime, broker, count }
    }

    pub(super) fn carry(&self, lap: &Lap<'_>) -> Reading {
        self.runtime.block_on(carry(lap, async |messages| self.send(messages).await))
    }

    async fn send(&self, count: u32) {
        self.count.expect(count);
        let publisher = self.broker.publisher();
        for number in 0..count {
            let parcel = Parcel(PAYLOAD.to_vec());
            publisher.message(&parcel).to("t").publish().await.expect("there is a subscriber");
            if number % BURST == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.count.all().await;
    }
}
