//! [`Scene`]: what a run consists of, as its seed decides, and what a planted bug changes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::inbox::{Inbox, MemoryInbox};
use downhaul_consumer::testing::{Fault, Plan};
use downhaul_consumer::{Broker, Consumer, KillSwitch, Rate, RetryPolicy};
use downhaul_testkit::oracle::Promises;
use fastrand::Rng;

pub(crate) const ATTEMPTS: u32 = 3;

type Wrap = dyn Fn(Arc<dyn Broker>) -> Arc<dyn Broker>;
type Change = dyn Fn(Consumer) -> Consumer;

/// What a run consists of.
pub(crate) struct Scene {
    pub(crate) seed: u64,
    /// No more are handled at a time.
    pub(crate) most: u16,
    pub(crate) ordered: bool,
    /// How many messages a call of the handler gets, where it gets more than one.
    pub(crate) batch: Option<usize>,
    pub(crate) inbox: Option<Arc<dyn Inbox>>,
    /// Once in how many operations each fault comes.
    rarity: u32,
    /// Puts a planted bug between the consumer and its broker.
    pub(crate) wrap: Box<Wrap>,
    /// Puts a planted bug into the consumer.
    change: Box<Change>,
}

impl Scene {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (most, ordered, deduped) = (rng.u16(1..=6), rng.u8(0..4) > 0, rng.u8(0..4) == 0);
        let inbox = deduped.then(|| Arc::new(MemoryInbox::new()) as Arc<dyn Inbox>);
        let rarity = rng.u32(10..60);
        let batch = (rng.u8(0..5) == 0).then(|| rng.usize(2..5));
        let (wrap, change): (Box<Wrap>, Box<Change>) = (Box::new(|it| it), Box::new(|it| it));
        Self { seed, most, ordered, batch, inbox, rarity, wrap, change }
    }

    pub(crate) fn wrapped<B: Broker>(
        mut self,
        wrap: impl Fn(Arc<dyn Broker>) -> B + 'static,
    ) -> Self {
        self.wrap = Box::new(move |broker| Arc::new(wrap(broker)));
        self
    }

    pub(crate) fn changed(mut self, change: impl Fn(Consumer) -> Consumer + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    pub(crate) fn deduped(mut self, inbox: impl Inbox) -> Self {
        self.inbox = Some(Arc::new(inbox));
        self
    }

    pub(crate) fn most(mut self, most: u16) -> Self {
        self.most = most;
        self
    }

    /// Keeps or gives up the order of keys.
    pub(crate) fn in_order(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// The consumer as the scene wants it.
    pub(crate) fn consumer(&self, plain: Consumer) -> Consumer {
        let backoff = (Duration::from_millis(20), Duration::from_secs(2));
        let retry = RetryPolicy::default().attempts(ATTEMPTS).backoff(backoff.0, backoff.1);
        let mut consumer = plain
            .concurrency(self.most)
            .retry(retry.in_place_up_to(Duration::from_millis(50)))
            .handler_timeout(Duration::from_secs(2))
            .drain_budget(Duration::from_secs(1))
            .cancel_grace(Duration::from_millis(200));
        // Of their own seed, so that they do not change what else the scene decides.
        let mut rng = Rng::with_seed(!self.seed);
        if self.ordered {
            consumer = consumer.ordered();
            consumer = if rng.u8(0..4) == 0 { consumer.park_ordered() } else { consumer };
        }
        if rng.u8(0..4) == 0 {
            consumer = consumer.rate(Rate::new(rng.u32(1..10), Duration::from_millis(200)));
        }
        if rng.u8(0..4) == 0 {
            let switch = KillSwitch::default().at_least(4).share(0.5);
            consumer = consumer.kill_switch(switch.pause(Duration::from_secs(3)));
        }
        if let Some(inbox) = &self.inbox {
            consumer = consumer.dedupe(Arc::clone(inbox));
        }
        (self.change)(consumer)
    }

    pub(crate) fn plan(&self) -> Plan {
        let plan = Plan::of_everything(self.seed, self.rarity);
        plan.one_in(self.rarity / 2, Fault::SettlementLost)
    }

    pub(crate) fn promises(&self) -> Promises {
        let most = usize::from(self.most) * self.batch.unwrap_or(1);
        let promises = Promises::default().in_flight(most).attempts(ATTEMPTS);
        if self.ordered { promises.key_order().one_of_a_key() } else { promises }
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, most, ordered, batch, inbox, rarity, .. } = self;
        write!(f, "seed {seed}, most {most}, ordered {ordered}, batch {batch:?}, ")?;
        write!(f, "inbox {inbox:?}, rarity {rarity}")
    }
}
