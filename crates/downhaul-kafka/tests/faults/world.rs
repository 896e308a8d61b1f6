//! [`World`]: a private broker, behind a proxy where one can be, and what happens to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Message, Outgoing, Subscription};
use downhaul_kafka::{Kafka, NewTopics};
use downhaul_testkit::faults::{CROWD, Fault, Menu, Round, STOCK, Site, last};
use downhaul_testkit::kafka::{Broker, Gap, Kind, Setup};
use downhaul_testkit::oracle::Oracle;
use downhaul_testkit::proxy::Proxy;
use tokio::task::block_in_place;

use crate::menu::menu;
use crate::witness;

/// After this a member that is silent is gone: as short as the stand-ins take it.
fn session(kind: Kind) -> Duration {
    Duration::from_secs(if kind == Kind::Noida { 6 } else { 3 })
}

/// How long what is finished may be unknown to a broker: commits are refused while a group shares
/// its partitions anew, which takes tansu up to 18 seconds, and a member that is cut off finishes
/// what it has until its session is over.
const LATE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    broker: Broker,
    proxy: Option<Proxy>,
    kafka: Arc<Kafka>,
    round: u32,
}

impl World {
    pub(crate) fn new(kind: Kind) -> Self {
        let (broker, proxy) = block_in_place(|| start(kind));
        let kafka = Kafka::new(&broker.bootstrap())
            .unwrap()
            .create_topics(NewTopics::partitions(4))
            .retry_steps(&[Duration::from_millis(100)])
            .commit_every(Duration::from_millis(100), 100)
            .consumer_property("session.timeout.ms", session(kind).as_millis().to_string())
            .consumer_property("heartbeat.interval.ms", "300")
            .property("reconnect.backoff.max.ms", "500");
        let kafka = if kind.lacks(Gap::Cooperation) {
            kafka.consumer_property("partition.assignment.strategy", "range")
        } else {
            kafka
        };
        Self { broker, proxy, kafka: Arc::new(kafka), round: 0 }
    }
}

fn start(kind: Kind) -> (Broker, Option<Proxy>) {
    let setup = Setup::new(kind);
    if kind.lacks(Gap::Proxy) {
        return (setup.start().unwrap(), None);
    }
    let proxy = Mutex::new(None);
    let broker = setup.start_behind(|port| {
        let started = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        let address = started.address();
        *proxy.lock().unwrap() = Some(started);
        address.port()
    });
    (broker.unwrap(), proxy.into_inner().unwrap())
}

#[async_trait(?Send)]
impl Site for World {
    fn menu(&self) -> Menu {
        menu(self.broker.kind())
    }

    fn brokers(&self) -> [Arc<dyn downhaul_consumer::Broker>; 2] {
        [Arc::clone(&self.kafka) as _, Arc::clone(&self.kafka) as _]
    }

    fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    fn begin(&mut self, round: u32) {
        self.round = round;
    }

    fn subscription(&self, queue: &str) -> Subscription {
        // What all have left can be read again, or is left alone.
        let name = match self.can_look_again() {
            true => queue.to_owned(),
            false => format!("{queue}-{}", self.round),
        };
        Subscription::new(name.clone()).topic(name)
    }

    fn outgoing(queue: &str, message: Message) -> Outgoing {
        Outgoing::to_topic(queue, message)
    }

    fn overheard(
        &self,
        oracle: &Oracle,
        instance: &str,
        broker: &Arc<dyn downhaul_consumer::Broker>,
    ) -> Arc<dyn downhaul_consumer::Broker> {
        oracle.overhear(instance, Arc::clone(broker), LATE)
    }

    /// The producer is idempotent, and tries again by itself.
    fn leaves_publishes_unknown(&self) -> bool {
        false
    }

    /// Not every stand-in counts records.
    fn counts(&self) -> bool {
        false
    }

    fn can_look_again(&self) -> bool {
        !self.broker.kind().lacks(Gap::Leaving)
    }

    async fn suffer(&mut self, _round: &Round, fault: Fault) {
        match fault {
            Fault::Freeze(time) => {
                self.broker.pause();
                last(time).await;
                self.broker.resume();
            }
            Fault::Kill(time) => {
                self.broker.kill();
                last(time).await;
                let broker = &mut self.broker;
                block_in_place(|| broker.restart()).unwrap();
            }
            other => unreachable!("{other:?} is not on the menu"),
        }
    }

    async fn blamed(&self) -> Option<String> {
        let (kind, bootstrap) = (self.broker.kind(), self.broker.bootstrap());
        if !kind.lacks(Gap::Leaving) {
            return None;
        }
        let shut = block_in_place(|| {
            let groups = [STOCK, CROWD].map(|queue| self.subscription(queue));
            groups.into_iter().find(|group| !witness::is_let_in(&bootstrap, group))
        });
        let group = shut?.queue().to_owned();
        Some(format!(
            "{kind} {}: not into `{group}`, nor a client of librdkafka alone",
            Gap::Leaving
        ))
    }

    fn state(&self) -> String {
        format!("{}, {:?}", self.broker.kind(), self.proxy.as_ref().map(Proxy::counts))
    }
}
