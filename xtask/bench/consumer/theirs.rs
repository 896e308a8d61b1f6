//! Others': a channel and a loop.

use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::ours::{Count, runtime};
use super::{BURST, PAYLOAD, carry};
use crate::lap::{Lap, Reading};

type Handling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What people write who need no broker: a bounded channel, and a loop that calls a handler.
pub(super) struct Channel {
    runtime: Runtime,
    sender: mpsc::Sender<Vec<u8>>,
    count: Arc<Count>,
}

impl Channel {
    pub(super) fn new() -> Self {
        let runtime = runtime();
        let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(BURST as usize);
        let count = Arc::new(Count::default());
        let counted = Arc::clone(&count);
        let handler: Box<dyn Fn(Vec<u8>) -> Handling + Send> = Box::new(move |payload| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                assert_eq!(payload.len(), PAYLOAD.len());
                counted.one();
            })
        });
        runtime.spawn(async move {
            while let Some(payload) = receiver.recv().await {
                handler(payload).await;
            }
        });
        Self { runtime, sender, count }
    }

    pub(super) fn carry(&self, lap: &Lap<'_>) -> Reading {
        self.runtime.block_on(carry(lap, async |messages| self.send(messages).await))
    }

    async fn send(&self, count: u32) {
        self.count.expect(count);
        for _ in 0..count {
            self.sender.send(PAYLOAD.to_vec()).await.expect("the loop runs");
        }
        self.count.all().await;
    }
}
