//! Somebody who pauses, stops and restarts at random, and breaks what the plan does not.

use std::time::Duration;

use downhaul_consumer::testing::Faults;
use downhaul_consumer::{ConsumerHandle, MemoryBroker};
use fastrand::Rng;
use tokio::time::sleep;

pub(crate) struct Operator {
    pub(crate) rng: Rng,
    pub(crate) consumer: ConsumerHandle,
    pub(crate) memory: MemoryBroker,
    pub(crate) faults: Faults,
    /// No more are handled at a time.
    pub(crate) most: u16,
}

impl Operator {
    /// Does some things, and leaves the rest to whoever heals.
    pub(crate) async fn work(mut self) {
        for _ in 0..self.rng.usize(4..16) {
            self.do_something().await;
            let millis = self.rng.u64(0..600);
            sleep(Duration::from_millis(millis)).await; // tidy: the clock is paused
        }
    }

    async fn do_something(&mut self) {
        let (consumer, faults) = (&self.consumer, &self.faults);
        match self.rng.u8(0..16) {
            0 => consumer.pause(),
            1..4 => consumer.resume(),
            4 => consumer.stop(),
            5 => consumer.drain(),
            6 => consumer.abort(),
            7 => consumer.restart(),
            8 => {
                let concurrency = self.rng.u16(1..=self.most);
                consumer.set(|settings| settings.concurrency = concurrency);
            }
            9 => {
                let prefetch = self.rng.u16(1..40);
                consumer.set(|settings| settings.prefetch = Some(prefetch));
            }
            10 => self.memory.cut(),
            11 => {
                self.memory.set_reachable(false);
                let millis = self.rng.u64(0..8000);
                sleep(Duration::from_millis(millis)).await; // tidy: the clock is paused
                self.memory.set_reachable(true);
            }
            12 => faults.lose_links(),
            13 => faults.lose_link_after_deliveries(self.rng.usize(0..5)),
            14 => faults.lose_link_after_settlements(self.rng.usize(0..5)),
            _ => faults.lose_next_settlement(),
        }
    }
}
