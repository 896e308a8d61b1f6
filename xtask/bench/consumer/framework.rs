//! `ruststream`, as its documentation has it: a handler in an app, and a publisher of its broker.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::num::NonZeroUsize;
use std::sync::Arc;

use ruststream::memory::prelude::*;
use tokio::runtime::Runtime;

use super::ours::{Count, runtime};
use super::{BURST, PAYLOAD, STREAM};
use crate::lap::{Lap, Reading};

/// The bytes of a message, as they came.
struct Bare<'a>(&'a [u8]);

impl Deserialized for Bare<'_> {
    type Output<'a> = Bare<'a>;
    type Error = Infallible;

    fn from_payload(payload: &[u8]) -> Result<Bare<'_>, Infallible> {
        Ok(Bare(payload))
    }
}

impl Input for Bare<'_> {
    type Axis = SoloDeserialized<Bare<'static>>;
}

/// The bytes of a message, as they go.
struct Parcel(Vec<u8>);

impl Serialized for Parcel {
    type Error = Infallible;

    fn wire_bytes(&self, _buffer: &mut BytesMut) -> Result<WireBytes<'_>, Infallible> {
        Ok(WireBytes::Own(&self.0))
    }
}

impl MessageWire for Parcel {
    type Wire = SerializedWire;
}

impl OutgoingDestination for Parcel {
    type Form = CallerName;
}

impl MessageHeaders for Parcel {
    type Contract = NoHeaders;
}

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
        self.runtime.block_on(async {
            self.send(2 * BURST).await;
            let messages = lap.turns * STREAM;
            lap.once_async(messages, async || self.send(messages).await).await
        })
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
