//! What a relay tells of itself, by its handle.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use downhaul_consumer::outbox::{Fate, RelayHandle, RelaySnapshot, Row, RowTicket};
use downhaul_consumer::{MemoryBroker, StoreError, StoreErrorKind, Subscription};
use tokio::time::{sleep, timeout};

use super::puppet::{Puppet, Say};
use super::*;

/// An outbox that is away as long as somebody says so.
#[derive(Debug)]
pub(super) struct Away {
    outbox: SqliteOutbox,
    kind: StoreErrorKind,
    pub(super) is_away: AtomicBool,
}

impl Away {
    pub(super) fn new(shop: &Shop, kind: StoreErrorKind) -> Arc<Self> {
        Arc::new(Self { outbox: shop.outbox.clone(), kind, is_away: AtomicBool::new(true) })
    }

    fn there(&self) -> Result<&SqliteOutbox, StoreError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(StoreError::new(self.kind, "no disk")),
            false => Ok(&self.outbox),
        }
    }
}

#[async_trait]
impl Outbox for Away {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Row>, StoreError> {
        self.there()?.claim(limit, lease).await
    }

    async fn settle(&self, fates: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        self.there()?.settle(fates).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.there()?.backlog().await
    }
}

/// Waits until it is so, and not for ever.
pub(super) async fn until(
    handle: &RelayHandle,
    condition: impl FnMut(&RelaySnapshot) -> bool,
) -> RelaySnapshot {
    let met = timeout(PATIENCE, handle.wait_for(condition)).await;
    met.unwrap_or_else(|_| panic!("still {:?}", handle.snapshot()))
}

/// Is over once there was a stall.
fn stalled(handle: &RelayHandle) -> JoinHandle<RelaySnapshot> {
    let handle = handle.clone();
    tokio::spawn(async move { handle.wait_for(|seen| seen.stall.is_some()).await })
}

fn start(relay: Relay) -> (RelayHandle, Running) {
    (relay.handle(), Running::start(relay))
}

/// A broker with a queue for all that is published, which cannot be reached yet.
pub(super) async fn away() -> Arc<MemoryBroker> {
    let (broker, queue) = (MemoryBroker::new(), Subscription::new("q").topic("t"));
    drop(broker.source(&Context::background(), &queue).await.unwrap());
    broker.set_reachable(false);
    Arc::new(broker)
}

#[tokio::test(start_paused = true)]
async fn a_relay_tells_what_it_has_in_hand_and_what_it_has_published() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", ""), ("two", "a"), ("three", "a")]);
    let broker = Puppet::new(|_, _| Say::Later(SECOND));
    let (handle, running) = start(shop.relay(broker));
    let seen = until(&handle, |seen| seen.in_hand == 3).await;
    assert_eq!((seen.published, seen.failed, seen.last_published), (0, 0, None));
    let seen = until(&handle, |seen| seen.published == 3).await;
    assert_eq!((seen.in_hand, seen.last_published), (0, Some(Instant::now())));
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_and_what_was_given_up_is_told_and_is_no_stall() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let (handle, running) = start(shop.relay(Puppet::new(|_, _| Say::Return)));
    let stalled = stalled(&handle);
    let seen = until(&handle, |seen| seen.backlog.is_some_and(|backlog| backlog.dead == 1)).await;
    assert_eq!((seen.published, seen.failed, seen.given_up), (0, 16, 1));
    assert!(!stalled.is_finished(), "the broker is there and answers");
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_through_is_told_since_the_first_try_and_until_something_does() {
    let (mut shop, broker) = (Shop::open().await, away().await);
    let begun = Instant::now();
    let (handle, running) = start(shop.relay(broker.clone()).confirm_budget(SECOND));
    shop.enqueue_many(&["a", ""], 2);
    let seen = until(&handle, |seen| seen.stall.is_some()).await;
    let stall = seen.stall.unwrap();
    assert!(stall.since - begun < 3 * SECOND, "{:?}", stall.since - begun);
    assert!(stall.since.elapsed() >= 10 * SECOND, "{:?}", stall.since.elapsed());
    assert!(stall.error.contains("unreachable"), "{}", stall.error);
    let backlog = seen.backlog.unwrap();
    assert!(backlog.oldest.is_some() && backlog.unpublished() == 4, "{backlog:?}");
    // It goes on, since the same.
    sleep(60 * SECOND).await; // tidy: on the paused clock
    assert_eq!(handle.snapshot().stall.unwrap().since, stall.since);
    assert_eq!(handle.snapshot().failed, 0, "what is not sent is no try");
    broker.set_reachable(true);
    let seen = until(&handle, |seen| seen.published > 0).await;
    assert_eq!(seen.stall, None);
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_says_no_to_all_for_ten_seconds_is_a_stall() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let broker = Puppet::new(|_, before| if before < 8 { Say::Nack } else { Say::Yes });
    let (handle, running) = start(shop.relay(broker.clone()));
    let first = broker.sent(1).await[0].at;
    let seen = until(&handle, |seen| seen.stall.is_some()).await;
    assert_eq!(seen.stall.unwrap().since, first);
    assert!(first.elapsed() >= 10 * SECOND);
    let seen = until(&handle, |seen| seen.published == 1).await;
    assert_eq!((seen.stall, seen.failed), (None, 8));
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_while_others_come_through_is_no_stall() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("bad", "")]);
    let broker = Puppet::new(|id, _| if id == "bad" { Say::Nack } else { Say::Yes });
    let backoff = |relay: Relay| relay.backoff(SECOND, SECOND);
    let (handle, running) = start(backoff(shop.relay(broker)));
    let stalled = stalled(&handle);
    for _ in 0..20 {
        shop.enqueue_many(&["good"], 1);
        sleep(5 * SECOND).await; // tidy: on the paused clock
    }
    let seen = handle.snapshot();
    assert!(seen.failed > 20 && seen.published == 20, "{seen:?}");
    assert!(!stalled.is_finished());
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_try_that_began_before_another_came_through_begins_no_silence() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("hangs", ""), ("slow", "")]);
    let broker = Puppet::new(|id, before| match (id, before) {
        ("slow", _) => Say::Later(9 * SECOND),
        (_, 0) => Say::Hang,
        _ => Say::Yes,
    });
    let (handle, running) = start(shop.relay(broker));
    let stalled = stalled(&handle);
    let seen = until(&handle, |seen| seen.published == 2).await;
    assert_eq!((seen.failed, stalled.is_finished()), (1, false));
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_over_when_nothing_is_left_to_publish() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let (handle, running) = start(shop.relay(Puppet::new(|_, _| Say::Nack)));
    until(&handle, |seen| seen.stall.is_some()).await;
    shop.db.execute("DELETE FROM downhaul_outbox", ()).unwrap();
    let seen = until(&handle, |seen| seen.stall.is_none()).await;
    assert_eq!((seen.published, seen.backlog.unwrap().unpublished()), (0, 0));
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_is_away_is_told_since_the_first_error_until_it_answers() {
    for (kind, is_permanent) in
        [(StoreErrorKind::Failed, false), (StoreErrorKind::Configuration, true)]
    {
        let shop = Shop::open().await;
        let (store, begun) = (Away::new(&shop, kind), Instant::now());
        let publisher = Publisher::new(Puppet::new(|_, _| Say::Yes));
        let (handle, running) = start(Relay::new(store.clone(), publisher));
        until(&handle, |seen| seen.store_fault.is_some()).await;
        sleep(60 * SECOND).await; // tidy: on the paused clock
        let seen = handle.snapshot();
        assert_eq!((seen.reached, seen.backlog), (false, None));
        let fault = seen.store_fault.unwrap();
        assert_eq!((fault.since, &*fault.error), (begun, "no disk"));
        assert_eq!(fault.is_permanent, is_permanent);
        store.is_away.store(false, Ordering::SeqCst);
        let seen = until(&handle, |seen| seen.reached).await;
        assert_eq!(seen.store_fault, None);
        running.drain().await;
    }
}

/// An outbox that says nothing as long as somebody says so.
#[derive(Debug)]
struct Mute {
    outbox: SqliteOutbox,
    is_mute: AtomicBool,
}

#[async_trait]
impl Outbox for Mute {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Row>, StoreError> {
        if self.is_mute.load(Ordering::SeqCst) {
            return pending().await;
        }
        self.outbox.claim(limit, lease).await
    }

    async fn settle(&self, fates: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        self.outbox.settle(fates).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.outbox.backlog().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_gives_no_answer_is_told_when_its_time_is_over_and_asked_again() {
    for (set, limit) in [(None, 10), (Some(2 * SECOND), 2)] {
        let mut shop = Shop::open().await;
        shop.enqueue(&[("id", "")]);
        let store = Mute { outbox: shop.outbox.clone(), is_mute: AtomicBool::new(true) };
        let (store, begun) = (Arc::new(store), Instant::now());
        let publisher = Publisher::new(Puppet::new(|_, _| Say::Yes));
        let relay = Relay::new(store.clone(), publisher);
        let relay = match set {
            Some(limit) => relay.store_timeout(limit),
            None => relay,
        };
        let (handle, running) = start(relay);
        let fault = until(&handle, |seen| seen.store_fault.is_some()).await.store_fault.unwrap();
        assert_eq!((begun.elapsed().as_secs(), fault.since), (limit, begun));
        assert_eq!(&*fault.error, format!("it did not answer within {limit}s"));
        assert!(!fault.is_permanent);
        store.is_mute.store(false, Ordering::SeqCst);
        let seen = until(&handle, |seen| seen.published == 1).await;
        assert_eq!(seen.store_fault, None);
        running.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_counted_when_a_run_is_over() {
    let mut shop = Shop::open().await;
    let broker = Puppet::new(|_, _| Say::Later(SECOND));
    let (handle, running) = start(shop.relay(broker).window(1));
    until(&handle, |seen| seen.backlog.is_some()).await;
    shop.enqueue_many(&[""], 3);
    until(&handle, |seen| seen.in_hand == 1).await;
    running.drain().await;
    let seen = handle.snapshot();
    assert_eq!((seen.published, seen.in_hand, seen.reached), (1, 0, false));
    assert_eq!(seen.backlog.unwrap().unpublished(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_not_known_where_there_is_no_time_to_count_it() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let (handle, running) = start(shop.relay(Puppet::new(|_, _| Say::Hang)));
    until(&handle, |seen| seen.backlog.is_some() && seen.in_hand == 1).await;
    running.canceller.cancel();
    running.task.await.unwrap();
    assert_eq!(handle.snapshot().backlog, None);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_dropped_has_nothing_in_hand() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let relay = shop.relay(Puppet::new(|_, _| Say::Hang));
    let handle = relay.handle();
    let ctx = Context::background();
    tokio::select! {
        () = relay.run(&ctx) => {}
        seen = until(&handle, |seen| seen.in_hand == 1) => assert!(seen.reached),
    }
    let seen = handle.snapshot();
    assert_eq!((seen.in_hand, seen.reached), (0, false));
}
