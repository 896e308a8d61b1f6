//! For whom and for how long ids are claimed, and what is told where that cannot be.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::inbox::{Claim, Commit, Inbox, MemoryInbox, Ticket};
use downhaul_consumer::{MemoryBroker, Settlement, StoreError};
use downhaul_context::Context;
use tokio::time::sleep;

use crate::dedupe::{failing, noting, publish_id};
use crate::support::{SECOND, spawn, until};

/// An inbox that notes for whom and for how long each claim is.
#[derive(Debug, Default)]
struct Noting(MemoryInbox, Mutex<Vec<(String, Duration)>>);

#[async_trait]
impl Inbox for Noting {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.1.lock().unwrap().push((scope.to_owned(), lease));
        self.0.claim(scope, id, lease).await
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        self.0.commit(ticket).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        self.0.release(ticket).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_is_claimed_by_name_for_longer_than_an_attempt_and_done_also_when_it_was_dropped() {
    let (ctx, _canceller) = Context::root();
    let (broker, inbox) = (MemoryBroker::new(), Arc::new(Noting::default()));
    let (consumer, _calls) = noting(|_| Settlement::Drop { reason: "worthless".to_owned() });
    let consumer = consumer.named("audit").handler_timeout(20 * SECOND).cancel_grace(4 * SECOND);
    let handle = spawn(consumer.dedupe(inbox.clone()), &ctx, &broker).await;
    for _ in 0..2 {
        publish_id(&broker, "one").await;
    }
    until(|| handle.tally().dropped == 1 && handle.tally().duplicates == 1).await;
    // Its time, its grace, and the time to emit and to settle.
    let claim = ("audit".to_owned(), (20 + 4 + 5 + 5) * SECOND);
    assert_eq!(*inbox.1.lock().unwrap(), [claim.clone(), claim]);
}

#[tokio::test(start_paused = true)]
async fn that_nothing_can_be_marked_as_processed_is_told_until_it_can() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, _calls) = noting(|_| Settlement::Ack);
    let consumer = consumer.handler_timeout(20 * SECOND).dedupe(failing(0, 1, false));
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.snapshot().waiting == 1).await;
    let held_up = handle.snapshot().held_up;
    assert_eq!(held_up, ["cannot use the inbox: the disk is away"]);
    sleep(120 * SECOND).await; // tidy: the clock is paused
    assert_eq!(handle.snapshot().held_up, [""; 0]);
}
