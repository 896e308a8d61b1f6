//! RabbitMQ passes the suite that every broker passes, on a real node, with both kinds of queues.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::Broker;
use downhaul_rabbitmq::{QueueType, RabbitMq};
use downhaul_testkit::rabbitmq::{shared, shared_ctl};
use downhaul_testkit::suite::{Capabilities, Harness};
use downhaul_testkit::unique;

struct Rabbit {
    broker: Arc<RabbitMq>,
    connections: String,
}

impl Rabbit {
    fn new(queue_type: QueueType) -> Self {
        // Starting a node blocks for seconds.
        let url = tokio::task::block_in_place(shared);
        let connections = unique("conformance");
        let broker = RabbitMq::new(&url).expect("a URL");
        let broker = broker.queue_type(queue_type).connection_name(connections.clone());
        Self { broker: Arc::new(broker), connections }
    }
}

#[async_trait]
impl Harness for Rabbit {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.broker) as Arc<dyn Broker>
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::ALL;
        capabilities.cut = std::env::var_os("DOWNHAUL_AMQP_URL").is_none();
        capabilities
    }

    /// The broker closes our connections, and those of no other test.
    async fn cut(&self) {
        let ours = format!(
            "[catch rabbit_networking:close_connection(Pid, \"cut\") || \
             [{{pid, Pid}}, {{client_properties, Properties}}] <- \
             rabbit_networking:connection_info_all([pid, client_properties]), \
             is_list(Properties), {{_, _, Name}} <- Properties, is_binary(Name), \
             binary:match(Name, <<\"{}\">>) =/= nomatch].",
            self.connections
        );
        let cut = move || shared_ctl(&["eval", &ours]).expect("a node of our own");
        tokio::task::block_in_place(cut).expect("connections closed");
    }
}

mod classic {
    use super::*;

    downhaul_testkit::conformance!(Rabbit::new(QueueType::Classic));
}

mod quorum {
    use super::*;

    downhaul_testkit::conformance!(Rabbit::new(QueueType::Quorum));
}

/// Some other test may be connecting while this one cuts its own links.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_passes_over_a_connection_that_has_not_said_who_it_is() {
    let rabbit = Rabbit::new(QueueType::Classic);
    if !rabbit.capabilities().cut {
        println!("SKIPPED: the harness cannot cut links");
        return;
    }
    let url = shared();
    let address = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap();
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.write_all(b"AMQP\0\0\x09\x01").unwrap();
    // The broker waits for an answer to its `connection.start`, and so knows no properties yet.
    stranger.read_exact(&mut [0; 7]).unwrap();
    rabbit.cut().await;
}
