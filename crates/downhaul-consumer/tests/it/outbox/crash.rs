//! A relay that dies at any of its polls. Nothing is lost, what comes twice is at most what it had
//! in hand, and each key keeps its order.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use async_trait::async_trait;
use downhaul_consumer::{BrokerError, MemoryBroker, Receipt, Sink, Source, Subscription};
use tokio::task::yield_now;
use tokio::time::advance;

use super::*;

const WINDOW: usize = 5;
const KEYS: [&str; 3] = ["a", "b", ""];
const EACH: usize = 4;

/// The memory broker, with a moment before and after each step in which its client may die.
#[derive(Clone, Debug)]
struct Hesitant {
    broker: MemoryBroker,
    sink: Option<Arc<dyn Sink>>,
}

#[async_trait]
impl Broker for Hesitant {
    fn system(&self) -> &'static str {
        self.broker.system()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        self.broker.source(ctx, subscription).await
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        yield_now().await;
        let sink = Some(self.broker.sink(ctx).await?);
        Ok(Arc::new(Self { sink, ..self.clone() }))
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Sink for Hesitant {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        yield_now().await;
        let receipt = self.sink.as_ref().unwrap().send(outgoing).await?;
        yield_now().await;
        let (answer, later) = Receipt::pending();
        tokio::spawn(async move {
            yield_now().await;
            answer.resolve(receipt.await);
        });
        Ok(later)
    }

    async fn close(&self, _ctx: &Context) {}
}

/// A shop with messages in its outbox, and a broker with a queue for them.
async fn shop() -> (Shop, Arc<Hesitant>) {
    let (mut shop, broker) = (Shop::open().await, MemoryBroker::new());
    let queue = Subscription::new("q").topic("t");
    drop(broker.source(&Context::background(), &queue).await.unwrap());
    shop.enqueue_many(&KEYS, EACH);
    (shop, Arc::new(Hesitant { broker, sink: None }))
}

/// Polls a relay so many times and drops it.
async fn live_for(polls: usize, relay: Relay) {
    let ctx = Context::background();
    let mut run = pin!(relay.run(&ctx));
    let mut count = 0;
    poll_fn(|cx| {
        if count == polls {
            return Poll::Ready(());
        }
        count += 1;
        run.as_mut().poll(cx)
    })
    .await;
}

/// A relay in a new process.
async fn reborn(shop: &Shop, broker: &Arc<Hesitant>) -> Relay {
    Relay::new(Arc::new(shop.another_outbox().await), Publisher::new(broker.clone())).window(WINDOW)
}

/// What has arrived, once the outbox is empty.
async fn outcome(shop: &Shop, broker: &Arc<Hesitant>) -> Vec<String> {
    let running = Running::start(reborn(shop, broker).await);
    shop.until((0, 0, 0)).await;
    running.drain().await;
    broker.broker.ready("q").iter().map(|message| message.id().to_owned()).collect()
}

/// How many messages came twice; panics if one is missing or out of order.
fn duplicates(ids: &[String]) -> usize {
    assert_in_order(ids, &["a", "b"]);
    let mut distinct = ids.to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), KEYS.len() * EACH, "lost: {ids:?}");
    ids.len() - distinct.len()
}

#[tokio::test(start_paused = true)]
async fn a_relay_may_die_at_any_poll() {
    let (mut worst, mut polls) = (0, 0);
    loop {
        let (shop, broker) = shop().await;
        live_for(polls, reborn(&shop, &broker).await).await;
        let is_over = shop.counts().await == (0, 0, 0);
        let twice = duplicates(&outcome(&shop, &broker).await);
        assert!(twice <= WINDOW, "{twice} came twice after {polls} polls");
        worst = worst.max(twice);
        if is_over {
            break;
        }
        polls += 1;
    }
    assert!(polls > 12 && worst > 0, "the relay was hardly hit: {polls} polls, {worst} twice");
}

#[tokio::test(start_paused = true)]
async fn a_relay_may_die_again_and_again() {
    for seed in 0..30 {
        let (shop, broker) = shop().await;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut deaths = 0;
        while shop.counts().await != (0, 0, 0) {
            live_for(random.usize(0..30), reborn(&shop, &broker).await).await;
            deaths += 1;
            assert!(deaths < 1000, "it does not get on");
            // Its successor comes at once, or when nothing is claimed any more.
            advance(SECOND * random.u32(0..30)).await;
        }
        let twice = duplicates(&outcome(&shop, &broker).await);
        assert!(twice <= deaths * WINDOW, "seed {seed}: {twice} came twice, {deaths} deaths");
    }
}
