//! Kafka passes the suite that every broker passes, on a real broker of its protocol.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::Broker;
use downhaul_kafka::{Kafka, NewTopics};
use downhaul_testkit::kafka::{self, Kind, Setup, shared, shared_kind};
use downhaul_testkit::proxy::{Cut, Proxy};
use downhaul_testkit::suite::{Capabilities, Harness};

/// The least that Kafka takes unless it is told otherwise (`group.min.session.timeout.ms`): after
/// this a member that is silent is gone.
const SESSION: Duration = Duration::from_secs(6);

struct Cluster {
    kafka: Arc<Kafka>,
    /// A broker of the scenario's own, behind a door that can be shut. `None` where the broker is
    /// somebody else's.
    own: Option<(kafka::Broker, Proxy)>,
}

impl Cluster {
    fn new() -> Self {
        let own = shared_kind().map(own_broker);
        let address = match &own {
            Some((broker, _)) => broker.bootstrap(),
            None => shared(),
        };
        let kafka = Kafka::new(&address)
            .unwrap()
            .create_topics(NewTopics::partitions(4))
            .retry_steps(&[Duration::from_millis(500), Duration::from_secs(2)])
            .consumer_property("session.timeout.ms", SESSION.as_millis().to_string());
        Self { kafka: Arc::new(kafka), own }
    }
}

/// A broker that advertises a proxy as its address.
fn own_broker(kind: Kind) -> (kafka::Broker, Proxy) {
    let proxy = Mutex::new(None);
    let broker = tokio::task::block_in_place(|| {
        Setup::new(kind).start_behind(|port| {
            let started = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
            let address = started.address();
            *proxy.lock().unwrap() = Some(started);
            address.port()
        })
    });
    (broker.unwrap(), proxy.into_inner().unwrap().unwrap())
}

#[async_trait]
impl Harness for Cluster {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.kafka) as Arc<dyn Broker>
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::ALL;
        capabilities.cut = self.own.is_some();
        capabilities
    }

    /// A client outlives a short break, and its membership with it. So this one is long enough for
    /// the group to give the partitions away.
    async fn cut(&self) {
        let Some((_, proxy)) = &self.own else { return };
        proxy.refuse();
        proxy.cut(Cut::Reset);
        // tidy: the broker counts the time of a session by its own clock.
        tokio::time::sleep(SESSION + Duration::from_secs(2)).await;
        proxy.heal();
    }
}

downhaul_testkit::conformance!(Cluster::new());
