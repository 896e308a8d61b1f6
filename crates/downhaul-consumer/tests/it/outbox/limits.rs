//! How much a relay asks a store for, and how often: as it says, and where nobody says otherwise.

use async_trait::async_trait;
use downhaul_consumer::outbox::{Fate, Row, RowTicket};
use downhaul_consumer::{StoreError, StoreErrorKind};
use tokio::sync::watch;
use tokio::time::sleep;

use super::puppet::{Puppet, Say};
use super::*;

const MILLI: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// A claim: when, of how many rows, for how long.
type Claim = (Instant, usize, Duration);

/// An outbox in which nothing is, or which is out of order.
#[derive(Debug, Default)]
struct Noting {
    claims: watch::Sender<Vec<Claim>>,
    counts: watch::Sender<Vec<Instant>>,
    is_broken: bool,
    /// How long it takes to count.
    slow: Duration,
}

#[async_trait]
impl Outbox for Noting {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Row>, StoreError> {
        self.claims.send_modify(|claims| claims.push((Instant::now(), limit, lease)));
        match self.is_broken {
            true => Err(StoreError::new(StoreErrorKind::Failed, "it is out of order")),
            false => Ok(Vec::new()),
        }
    }

    async fn settle(&self, _: &[(RowTicket, Fate)]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.counts.send_modify(|counts| counts.push(Instant::now()));
        sleep(self.slow).await;
        Ok(Backlog::default())
    }
}

/// The first claims of a relay, as `set` has it.
async fn claims(is_broken: bool, count: usize, set: impl FnOnce(Relay) -> Relay) -> Vec<Claim> {
    let store = Arc::new(Noting { is_broken, ..Noting::default() });
    let publisher = Publisher::new(Puppet::new(|_, _| Say::Yes));
    let running = Running::start(set(Relay::new(store.clone(), publisher)));
    let mut claims = store.claims.subscribe();
    let claims = claims.wait_for(|claims| claims.len() >= count).await.unwrap().clone();
    running.drain().await;
    claims
}

/// How long after one another they came.
fn pauses(claims: &[Claim]) -> Vec<Duration> {
    claims.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

/// How many rows it asks for, for how long, and after which pause again.
async fn asked(set: impl FnOnce(Relay) -> Relay) -> (usize, Duration, Duration) {
    let claims = claims(false, 2, set).await;
    (claims[0].1, claims[0].2, pauses(&claims)[0])
}

#[tokio::test(start_paused = true)]
async fn a_relay_asks_for_what_its_page_says() {
    assert_eq!(asked(|relay| relay).await, (100, 30 * SECOND, SECOND));
    let set = |relay: Relay| relay.window(7).confirm_budget(2 * SECOND).poll_interval(5 * SECOND);
    assert_eq!(asked(set).await, (7, 6 * SECOND, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn no_limit_of_a_relay_is_nothing_or_without_end() {
    let least =
        |relay: Relay| relay.window(0).confirm_budget(Duration::ZERO).poll_interval(Duration::ZERO);
    assert_eq!(asked(least).await, (1, 3 * MILLI, MILLI));
    let most = |relay: Relay| relay.confirm_budget(Duration::MAX).poll_interval(Duration::MAX);
    assert_eq!(asked(most).await, (100, 3 * DAY, DAY));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_out_of_order_is_asked_after_pauses_that_grow_up_to_ten_seconds() {
    let pauses = pauses(&claims(true, 12, |relay| relay).await);
    for (nth, pause) in (0_u32..).zip(pauses) {
        let longest = (100 * MILLI).saturating_mul(1 << nth).min(10 * SECOND);
        // The paused clock goes in steps of a millisecond.
        assert!((longest / 2..=longest + MILLI).contains(&pause), "{nth}: {pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_counted_every_five_seconds_and_less_often_where_that_takes_long() {
    for (slow, pause) in [(Duration::ZERO, 5 * SECOND), (SECOND, 21 * SECOND)] {
        let store = Arc::new(Noting { slow, ..Noting::default() });
        let publisher = Publisher::new(Puppet::new(|_, _| Say::Yes));
        let running = Running::start(Relay::new(store.clone(), publisher));
        let mut counts = store.counts.subscribe();
        let counts = counts.wait_for(|counts| counts.len() >= 3).await.unwrap().clone();
        running.drain().await;
        assert_eq!((counts[1] - counts[0], counts[2] - counts[1]), (pause, pause));
    }
}

/// How often a message is sent that nobody will have, before it is dead.
async fn refusals(set: impl FnOnce(Relay) -> Relay) -> usize {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("big", "")]);
    let broker = Puppet::new(|_, _| Say::Refuse);
    let running = Running::start(set(shop.relay(broker.clone())));
    shop.until((0, 0, 1)).await;
    running.drain().await;
    broker.ids().len()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_will_have_is_tried_as_often_as_the_page_says() {
    assert_eq!(refusals(|relay| relay).await, 16);
    assert_eq!(refusals(|relay| relay.refusals(0)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_again_after_pauses_that_grow_up_to_a_minute() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("big", "")]);
    let broker = Puppet::new(|_, _| Say::Refuse);
    let running = Running::start(shop.relay(broker.clone()));
    let sent = broker.sent(16).await;
    running.drain().await;
    for (nth, pair) in (0_u32..).zip(sent.windows(2)) {
        let pause = pair[1].at - pair[0].at;
        let longest = (200 * MILLI).saturating_mul(1 << nth).min(60 * SECOND);
        assert!((longest / 2..=longest + MILLI).contains(&pause), "{nth}: {pause:?}");
    }
}
