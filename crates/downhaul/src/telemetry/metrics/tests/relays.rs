//! What is told of relays, on the paused clock.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use downhaul_consumer::outbox::{Backlog, Fate, Outbox, Relay, RelayHandle, Row, RowTicket};
use downhaul_consumer::{StoreError, StoreErrorKind};

use super::*;
use crate::board::Board;
use crate::{Component, RelayWorker};

/// An outbox that gives each of its rows once, and says the same of all others.
#[derive(Debug)]
struct Given {
    topics: std::sync::Mutex<Vec<&'static str>>,
    backlog: Backlog,
    is_away: AtomicBool,
}

#[async_trait]
impl Outbox for Given {
    async fn claim(&self, _limit: usize, _lease: Duration) -> Result<Vec<Row>, StoreError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Failed, "no disk"));
        }
        let topics = std::mem::take(&mut *self.topics.lock().unwrap());
        let row = |(number, topic)| {
            let outgoing = Outgoing::to_topic(topic, Message::new(""));
            Row::new(RowTicket { number, claim: 1 }, None, outgoing)
        };
        Ok((1..).zip(topics).map(row).collect())
    }

    async fn settle(&self, _fates: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        Ok(self.backlog)
    }
}

/// An app of a relay that has started, of what is there for it and of its broker, which has a queue
/// for the topic `t`.
async fn app(
    topics: &[&'static str],
    backlog: Backlog,
) -> (Arc<Board>, RelayHandle, Arc<Given>, Arc<MemoryBroker>) {
    let (broker, queue) = (Arc::new(MemoryBroker::new()), Subscription::new("q").topic("t"));
    let topics = std::sync::Mutex::new(topics.to_vec());
    let outbox = Arc::new(Given { topics, backlog, is_away: AtomicBool::new(false) });
    drop(downhaul_consumer::Broker::source(&*broker, &Context::background(), &queue).await);
    let relay = Relay::new(outbox.clone(), Publisher::new(broker.clone()));
    let (handle, worker) = (relay.handle(), Arc::new(RelayWorker::new(relay)));
    worker.start(&Context::background()).await.unwrap();
    let board = Board::new();
    board.set_parts(vec![("outbox".into(), worker)]);
    (Arc::new(board), handle, outbox, broker)
}

#[tokio::test(start_paused = true)]
async fn what_is_in_an_outbox_is_counted_and_its_oldest_has_an_age() {
    let recording = Recording::new();
    let backlog = Backlog::new(3, 2, 1, Some(Duration::from_millis(1500)));
    let (board, relay, ..) = app(&[], backlog).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    relay.wait_for(|seen| seen.backlog.is_some()).await;
    let expected = set(["shop outbox pending 3", "shop outbox in_flight 2", "shop outbox dead 1"]);
    assert_eq!(recording.counted("downhaul_outbox_messages"), expected);
    let oldest = recording.counted("downhaul_outbox_oldest_age_seconds");
    assert_eq!(oldest, set(["shop outbox 1.5"]));
    let line = "downhaul_app_name=\"shop\",downhaul_component_name=\"outbox\"} 1.5";
    assert!(recording.series("downhaul_outbox_oldest_age_seconds").contains(line));
}

#[tokio::test(start_paused = true)]
async fn what_a_relay_has_published_is_counted_and_what_has_failed() {
    let recording = Recording::new();
    let (board, relay, ..) = app(&["t", "t", "nobody's"], Backlog::new(1, 0, 0, None)).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    relay.wait_for(|seen| seen.published + seen.failed == 3).await;
    let expected = set(["shop outbox published 2", "shop outbox failed 1"]);
    assert_eq!(recording.counted("downhaul_relay_attempts_total"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_relay_is_held_up_while_its_broker_or_its_outbox_is_away() {
    let recording = Recording::new();
    let (board, relay, outbox, broker) = app(&[], Backlog::new(1, 0, 0, None)).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    let held_up = || recording.counted("downhaul_relay_held_up");
    assert_eq!(held_up(), set([]));
    broker.set_reachable(false);
    outbox.topics.lock().unwrap().push("t");
    relay.wait_for(|seen| seen.stall.is_some()).await;
    assert_eq!(held_up(), set(["shop outbox broker 1"]));
    outbox.is_away.store(true, Ordering::SeqCst);
    relay.wait_for(|seen| seen.store_fault.is_some()).await;
    assert_eq!(held_up(), set(["shop outbox broker 1", "shop outbox outbox 1"]));
    outbox.is_away.store(false, Ordering::SeqCst);
    relay.wait_for(|seen| seen.store_fault.is_none()).await;
    assert_eq!(held_up(), set(["shop outbox broker 1"]));
}

#[tokio::test(start_paused = true)]
async fn relays_of_the_same_names_are_counted_together_until_their_app_is_over() {
    let recording = Recording::new();
    let ages = [1, 2].map(Duration::from_secs);
    let (first, relay, ..) = app(&[], Backlog::new(3, 0, 0, Some(ages[0]))).await;
    let (second, other, ..) = app(&[], Backlog::new(4, 0, 0, Some(ages[1]))).await;
    for relay in [relay, other] {
        relay.wait_for(|seen| seen.backlog.is_some()).await;
    }
    let messages = || recording.counted("downhaul_outbox_messages");
    let counted = recording.instruments().count_parts("shop", &first);
    let more = recording.instruments().count_parts("shop", &second);
    assert_eq!(messages(), set(["shop outbox pending 7"]));
    let oldest = recording.counted("downhaul_outbox_oldest_age_seconds");
    assert_eq!(oldest, set(["shop outbox 2"]));
    drop(more);
    assert_eq!(messages(), set(["shop outbox pending 3"]));
    drop(counted);
    assert_eq!(recording.series("downhaul_outbox_messages"), set([]), "nor zeros");
}
