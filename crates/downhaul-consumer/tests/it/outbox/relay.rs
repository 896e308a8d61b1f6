//! What a relay does with what is there.

use std::sync::Mutex;

use async_trait::async_trait;
use downhaul_consumer::outbox::{Fate, Row, RowTicket};
use downhaul_consumer::{MemoryBroker, Source, StoreError, StoreErrorKind, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, advance, interval, sleep};

use super::puppet::{Puppet, Say};
use super::*;

const KEYS: [&str; 3] = ["a", "b", "c"];

#[tokio::test(start_paused = true)]
async fn rows_of_a_key_are_published_in_order() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&KEYS, 30);
    let broker = Puppet::new(|id, _| {
        Say::Later(Duration::from_millis(10 + u64::try_from(id.len()).unwrap() % 3))
    });
    let begun = Instant::now();
    let running = Running::start(shop.relay(broker.clone()).window(20));
    let sent = broker.sent(90).await;
    // One key after the other would take three times as long.
    assert!(begun.elapsed() < 30 * 2 * Duration::from_millis(12), "{:?}", begun.elapsed());
    for key in KEYS {
        let of_key: Vec<_> = sent.iter().filter(|sent| sent.id.starts_with(key)).collect();
        for (number, pair) in of_key.windows(2).enumerate() {
            assert_eq!(pair[1].id, format!("{key}{}", number + 1));
            let apart = pair[1].at - pair[0].at;
            assert!(apart >= Duration::from_millis(10), "sent before the one before was confirmed");
        }
    }
    running.drain().await;
    assert_eq!(shop.counts().await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_budget_is_too_short_to_publish_anything() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&KEYS, 3);
    let broker = Puppet::new(|_, _| Say::Yes);
    let running = Running::start(shop.relay(broker.clone()).confirm_budget(Duration::ZERO));
    broker.sent(9).await;
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn rows_without_a_key_are_under_way_together() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&[""], 100);
    let broker = Puppet::new(|_, _| Say::Later(SECOND));
    let begun = Instant::now();
    let running = Running::start(shop.relay(broker.clone()).window(50));
    broker.sent(100).await;
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_confirmed_leaves_the_outbox() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("yes", ""), ("nack", ""), ("nothing", ""), ("return", ""), ("hang", "")]);
    let broker = Puppet::new(|id, _| match id {
        "yes" => Say::Yes,
        "nack" => Say::Nack,
        "nothing" => Say::Nothing,
        "return" => Say::Return,
        _ => Say::Hang,
    });
    let running = Running::start(shop.relay(broker.clone()));
    let sent = broker.sent(30).await;
    running.drain().await;
    assert_eq!(shop.counts().await, (4, 0, 0));
    for id in ["nack", "nothing", "return", "hang"] {
        let tries = sent.iter().filter(|sent| sent.id == id).count();
        assert!(tries >= 2, "{id}: {tries}");
    }
    assert_eq!(sent.iter().filter(|sent| sent.id == "yes").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_message_fails_waits_and_others_go_on() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a", "b"], 10);
    let broker = Puppet::new(|id, before| match id {
        "a3" if before < 5 => Say::Nack,
        _ => Say::Yes,
    });
    let running = Running::start(shop.relay(broker.clone()));
    broker.sent(25).await;
    running.drain().await;
    let ids = broker.ids();
    assert_in_order(&ids, &["a", "b"]);
    let at = |id: &str| ids.iter().rposition(|sent| sent == id).unwrap();
    assert!(at("b9") < at("a3") && at("a3") < at("a4"), "{ids:?}");
    assert_eq!((ids.len(), shop.counts().await), (25, (0, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_is_tried_again_after_growing_pauses() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let broker = Puppet::new(|_, before| if before < 6 { Say::Nack } else { Say::Yes });
    let (first, longest) = (100, 1000);
    let relay = shop.relay(broker.clone()).poll_interval(3600 * SECOND);
    let running =
        Running::start(relay.backoff(Duration::from_millis(first), Duration::from_millis(longest)));
    let sent = broker.sent(7).await;
    for (failures, pair) in sent.windows(2).enumerate() {
        let full = (first << failures).min(longest);
        let pause = u64::try_from((pair[1].at - pair[0].at).as_millis()).unwrap();
        // Another pause, that of the whole relay, is drawn from the same range.
        assert!((full / 2..=full + 5).contains(&pause), "after {failures}: {pause} of {full}");
    }
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn each_of_several_failed_messages_is_tried_again_in_time() {
    let mut shop = Shop::open().await;
    let broker = Puppet::new(|_, before| if before == 0 { Say::Nack } else { Say::Yes });
    let relay = shop.relay(broker.clone()).poll_interval(3600 * SECOND);
    // The clock is put forward here also while the store is being asked.
    let relay = relay.store_timeout(3600 * SECOND);
    let running = Running::start(relay.backoff(100 * SECOND, 100 * SECOND));
    let begun = Instant::now();
    for (number, id) in ["one", "two", "three"].into_iter().enumerate() {
        shop.enqueue(&[(id, "")]);
        shop.outbox.notify();
        broker.sent(number + 1).await;
        shop.until((u64::try_from(number).unwrap() + 1, 0, 0)).await;
        advance(10 * SECOND).await;
    }
    broker.sent(6).await;
    assert!(begun.elapsed() < 150 * SECOND, "{:?}", begun.elapsed());
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_to_which_nothing_comes_through_does_not_try_everything_at_once() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&[""], 1000);
    let broker = Puppet::new(|_, _| Say::Nack);
    let running = Running::start(shop.relay(broker.clone()).window(10));
    let begun = Instant::now();
    broker.sent(100).await;
    assert!(begun.elapsed() > 10 * SECOND, "{:?}", begun.elapsed());
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_notified_relay_does_not_wait_for_its_next_look() {
    let mut shop = Shop::open().await;
    let broker = Puppet::new(|_, _| Say::Yes);
    let store = Arc::new(Watched::new(&shop, None));
    let relay = Relay::new(store.clone(), Publisher::new(broker.clone()));
    let running = Running::start(relay.poll_interval(60 * SECOND));
    store.called(1).await;
    let begun = Instant::now();
    shop.enqueue(&[("one", "")]);
    shop.outbox.notify();
    broker.sent(1).await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    store.called(4).await;
    shop.enqueue(&[("two", "")]);
    broker.sent(2).await;
    let late = begun.elapsed();
    assert!((58 * SECOND..=61 * SECOND).contains(&late), "without a word it looks: {late:?}");
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_relay_finishes_what_it_has_and_claims_nothing() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a"], 10);
    let broker = Puppet::new(|_, _| Say::Later(SECOND));
    let running = Running::start(shop.relay(broker.clone()).window(3));
    broker.sent(1).await;
    running.drain().await;
    assert_eq!(
        (broker.ids(), shop.counts().await),
        (vec!["a0".into(), "a1".into(), "a2".into()], (7, 0, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_context_ends_gives_back_what_is_not_confirmed() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("a0", "a"), ("a1", "a"), ("a2", "a"), ("b", "")]);
    let broker = Puppet::new(|id, _| if id == "a0" { Say::Yes } else { Say::Hang });
    let running = Running::start(shop.relay(broker.clone()));
    broker.sent(3).await;
    let begun = Instant::now();
    running.canceller.cancel();
    running.task.await.unwrap();
    assert!(begun.elapsed() < SECOND);
    assert_eq!(shop.counts().await, (3, 0, 0));
    let rows = async |after| {
        advance(after).await;
        let rows = shop.outbox.claim(9, SECOND).await.unwrap();
        rows.iter().map(|row| (row.outgoing.message.id().to_owned(), row.attempts)).collect()
    };
    let rows: Vec<(String, u32)> = rows(SECOND).await;
    assert_eq!(rows, [("a1".into(), 1), ("a2".into(), 0), ("b".into(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_given_back_before_its_lease_runs_out() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a"], 2);
    let broker = Puppet::new(|_, before| if before == 0 { Say::Hang } else { Say::Yes });
    let running = Running::start(shop.relay(broker.clone()).confirm_budget(4 * SECOND));
    let sent = broker.sent(2).await;
    let pause = sent[1].at - sent[0].at;
    assert!((4 * SECOND..5 * SECOND).contains(&pause), "{pause:?}");
    assert_eq!((sent[0].id.as_str(), sent[1].id.as_str()), ("a0", "a0"));
    broker.sent(4).await;
    running.drain().await;
    assert_eq!(broker.ids(), ["a0", "a0", "a1", "a1"]);
}

#[tokio::test(start_paused = true)]
async fn two_relays_publish_no_row_twice() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a", "b", "c", "d", ""], 60);
    let broker = Puppet::new(|id, _| {
        Say::Later(Duration::from_millis(1 + 7 * u64::from(id.as_bytes()[0] % 5)))
    });
    let mut relays = Vec::new();
    for _ in 0..3 {
        let outbox = Arc::new(shop.another_outbox().await);
        let relay = Relay::new(outbox, Publisher::new(broker.clone())).window(8);
        relays.push(Running::start(relay));
    }
    broker.sent(300).await;
    for relay in relays {
        relay.drain().await;
    }
    let mut ids = broker.ids();
    assert_in_order(&ids, &["a", "b", "c", "d"]);
    assert_eq!((ids.len(), shop.counts().await), (300, (0, 0, 0)));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_row_late_in_its_chain_has_all_its_time_and_its_lease() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a", "b"], 12);
    let (budget, slow) = (4 * SECOND, Duration::from_millis(3900));
    let broker = Puppet::new(move |_, _| Say::Later(slow));
    let relays = [shop.another_outbox().await, shop.another_outbox().await].map(|outbox| {
        let relay = Relay::new(Arc::new(outbox), Publisher::new(broker.clone()));
        Running::start(relay.confirm_budget(budget))
    });
    broker.sent(24).await;
    for relay in relays {
        relay.drain().await;
    }
    assert_in_order(&broker.ids(), &["a", "b"]);
    assert_eq!((broker.ids().len(), shop.counts().await), (24, (0, 0, 0)));
}

/// All that a queue bound to `t` is given.
async fn bound(broker: &MemoryBroker) -> Box<dyn Source> {
    let subscription = Subscription::new("q").topic("t").with_prefetch(u16::MAX);
    broker.source(&Context::background(), &subscription).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_delays_and_does_not_count_as_a_failure() {
    let mut shop = Shop::open().await;
    let broker = Arc::new(MemoryBroker::new());
    drop(bound(&broker).await);
    shop.enqueue_many(&KEYS, 20);
    broker.set_reachable(false);
    let running = Running::start(shop.relay(broker.clone()));
    let mut ticks = interval(SECOND);
    for _ in 0..45 {
        // Several budgets pass, while nobody else has anything to do.
        ticks.tick().await;
    }
    let (pending, in_flight, dead) = shop.counts().await;
    assert_eq!((pending + in_flight, dead), (60, 0));
    let tries = "SELECT sum(attempts) FROM downhaul_outbox";
    assert_eq!(shop.db.query_row(tries, (), |row| row.get::<_, i64>(0)).unwrap(), 0);
    broker.set_reachable(true);
    let mut ticks = interval(Duration::from_millis(30));
    for _ in 0..10 {
        // Cut at any moment: what was sent is known, so nothing comes twice.
        broker.cut();
        ticks.tick().await;
    }
    let mut source = bound(&broker).await;
    let mut deliveries = Vec::new();
    while deliveries.len() < 60 {
        source.next(&mut deliveries).await.unwrap();
    }
    running.drain().await;
    let ids: Vec<_> = deliveries
        .into_iter()
        .filter_map(downhaul_consumer::Event::into_delivery)
        .map(|one| one.message.id().to_owned())
        .collect();
    assert_in_order(&ids, &KEYS);
    assert_eq!((ids.len(), shop.counts().await), (60, (0, 0, 0)));
}

/// An outbox that counts the calls and may be late to answer a claim. It may fail at random: before
/// a call takes effect, or after fates were written.
#[derive(Debug)]
struct Watched {
    outbox: SqliteOutbox,
    calls: watch::Sender<u32>,
    faults: Option<Mutex<fastrand::Rng>>,
    late: Duration,
}

impl Watched {
    fn new(shop: &Shop, faults: Option<u64>) -> Self {
        let faults = faults.map(|seed| Mutex::new(fastrand::Rng::with_seed(seed)));
        let (outbox, calls) = (shop.outbox.clone(), watch::Sender::default());
        Self { outbox, calls, faults, late: Duration::ZERO }
    }

    /// Waits until so many calls are over.
    async fn called(&self, count: u32) {
        self.calls.subscribe().wait_for(|calls| *calls >= count).await.unwrap();
    }

    fn fault(&self) -> Result<(), StoreError> {
        match &self.faults {
            Some(random) if random.lock().unwrap().u8(..3) == 0 => {
                Err(StoreError::new(StoreErrorKind::Busy, "not now"))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Outbox for Watched {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Row>, StoreError> {
        self.fault()?;
        let rows = self.outbox.claim(limit, lease).await;
        sleep(self.late).await;
        self.calls.send_modify(|calls| *calls += 1);
        rows
    }

    async fn settle(&self, fates: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        self.fault()?;
        self.outbox.settle(fates).await?;
        self.calls.send_modify(|calls| *calls += 1);
        self.fault()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.outbox.backlog().await
    }

    async fn news(&self) {
        self.outbox.news().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_too_late_is_given_back_and_not_published() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a", ""], 2);
    let broker = Puppet::new(|_, _| Say::Yes);
    let store = Arc::new(Watched { late: 4 * SECOND, ..Watched::new(&shop, None) });
    let relay = Relay::new(store.clone(), Publisher::new(broker.clone()));
    let running = Running::start(relay.confirm_budget(4 * SECOND));
    store.called(6).await;
    running.drain().await;
    assert_eq!((broker.ids().len(), shop.counts().await), (0, (4, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_store_neither_lose_nor_repeat() {
    for seed in 0..10 {
        let mut shop = Shop::open().await;
        shop.enqueue_many(&KEYS, 10);
        let broker = Puppet::new(|_, _| Say::Later(Duration::from_millis(3)));
        let store = Arc::new(Watched::new(&shop, Some(seed)));
        let running = Running::start(Relay::new(store, Publisher::new(broker.clone())).window(4));
        broker.sent(30).await;
        running.drain().await;
        assert_in_order(&broker.ids(), &KEYS);
        assert_eq!((broker.ids().len(), shop.counts().await), (30, (0, 0, 0)), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_keeps_no_relay_whose_context_has_ended() {
    let shop = Shop::open().await;
    let broker = Puppet::new(|_, _| Say::Yes);
    let store = Arc::new(Watched { late: 86_400 * SECOND, ..Watched::new(&shop, None) });
    let Running { canceller, task } = Running::start(Relay::new(store, Publisher::new(broker)));
    sleep(SECOND).await; // tidy: on the paused clock
    let asked = Instant::now();
    canceller.cancel();
    task.await.unwrap();
    assert!(asked.elapsed() <= 10 * SECOND, "{:?}", asked.elapsed());
}
