//! [`Heard`]: what a source has said.

use downhaul_consumer::{Delivery, Event, Lane, Revoking, Source};
use tokio::task::JoinHandle;

use crate::support::soon;

/// Everything that a source has said.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) assigned: Vec<Lane>,
    pub(crate) lost: Vec<Lane>,
    pub(crate) revoking: Vec<Revoking>,
    pub(crate) deliveries: Vec<Delivery>,
}

impl Heard {
    pub(crate) fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Delivery(delivery) => self.deliveries.push(delivery),
                Event::Assigned(lanes) => self.assigned.extend(lanes),
                Event::Lost(lanes) => self.lost.extend(lanes),
                Event::Revoking(revoking) => self.revoking.push(revoking),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Hears on until a condition holds.
    pub(crate) async fn until(
        &mut self,
        source: &mut dyn Source,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) {
        let hearing = async {
            while !holds(self) {
                let mut events = Vec::new();
                source.next(&mut events).await.unwrap();
                self.take(events);
            }
        };
        soon(what, hearing).await;
    }

    /// Hears on and gives what is asked for, also of the group's own topics, until another source
    /// is open, which may have to wait for that.
    pub(crate) async fn giving(
        &mut self,
        source: &mut dyn Source,
        another: JoinHandle<Box<dyn Source>>,
    ) -> Box<dyn Source> {
        let giving = async {
            loop {
                self.revoking.clear();
                let mut events = Vec::new();
                source.next(&mut events).await.unwrap();
                self.take(events);
            }
        };
        tokio::select! {
            another = soon("another source is open", another) => another.unwrap(),
            () = giving => unreachable!("it goes on"),
        }
    }
}
