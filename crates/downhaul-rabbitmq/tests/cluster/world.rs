//! [`World`]: the cluster, a proxy before each of its nodes, and what it says of itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use downhaul_rabbitmq::{QueueType, RabbitMq};
use downhaul_testkit::proxy::Proxy;
use downhaul_testkit::rabbitmq::{Cluster, Node};
use tokio::task::block_in_place;

use crate::load::QUEUE;

const NODES: usize = 3;
/// Dead letters that were refused are tried again after up to a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Bounds everything that ought to happen: a test fails, it does not hang.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) proxies: Vec<Proxy>,
}

impl World {
    pub(crate) fn new() -> Self {
        // Starting nodes blocks for many seconds.
        let cluster = block_in_place(|| Cluster::start(NODES)).unwrap();
        let before = |node: &Node| {
            Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()))).unwrap()
        };
        let proxies = cluster.nodes().iter().map(before).collect();
        Self { cluster, proxies }
    }

    /// As of another program: with connections of its own.
    pub(crate) fn broker(&self) -> Arc<RabbitMq> {
        let url = |proxy: &Proxy| format!("amqp://guest:guest@{}/%2f", proxy.address());
        let (heartbeat, connect) = (Duration::from_secs(1), Duration::from_secs(3));
        let broker = RabbitMq::cluster(self.proxies.iter().map(url)).unwrap();
        let broker = broker.heartbeat(heartbeat).connect_timeout(connect);
        Arc::new(broker.queue_type(QueueType::Quorum))
    }

    /// How many have been made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.proxies.iter().map(|proxy| proxy.counts().accepted).sum()
    }

    /// The node on which the leader of the queue is.
    pub(crate) fn leader(&self) -> usize {
        let ask = format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{QUEUE}\">>)), \
             {{_, Node}} = amqqueue:get_pid(Q), Node."
        );
        let answer = self.eval(&ask);
        let nodes = self.cluster.nodes();
        nodes.iter().position(|node| answer.contains(&node.name())).expect("one of the nodes")
    }

    pub(crate) fn restart(&mut self, index: usize) {
        let node = self.cluster.node(index);
        block_in_place(|| node.restart()).unwrap();
    }

    /// Cuts a node off, and waits until the others have noticed.
    pub(crate) async fn cut_off(&self, index: usize) {
        block_in_place(|| self.cluster.cut_off(index)).unwrap();
        let another = (index + 1) % NODES;
        let noticed = async {
            while self.seen_by(another) != Some(NODES - 1) {
                tokio::task::yield_now().await;
            }
        };
        soon("it is cut off", noticed).await;
    }

    pub(crate) fn heal(&self, index: usize) {
        block_in_place(|| self.cluster.heal(index)).unwrap();
    }

    /// Waits until every node sees every other.
    pub(crate) async fn is_whole(&self) {
        let whole = async {
            while !(0..NODES).all(|index| self.seen_by(index) == Some(NODES)) {
                tokio::task::yield_now().await;
            }
        };
        soon("the cluster is whole", whole).await;
    }

    /// How many messages wait in the queue and in those of its delays, as they say themselves.
    pub(crate) fn ready(&self, queue: &str) -> u64 {
        let ask = format!(
            "Name = fun(Q) -> binary_to_list(element(4, amqqueue:get_name(Q))) end, \
             Ours = fun(Q) -> Name(Q) =:= \"{queue}\" orelse \
             lists:prefix(\"{queue}.retry.\", Name(Q)) end, \
             Ready = fun(Q) -> {{ok, Count, _}} = rabbit_amqqueue:stat(Q), Count end, \
             lists:sum([Ready(Q) || Q <- rabbit_amqqueue:list(), Ours(Q)])."
        );
        self.eval(&ask).trim().parse().unwrap()
    }

    /// How many nodes run, as one of them has it, if it says so.
    fn seen_by(&self, index: usize) -> Option<usize> {
        let ask = ["eval", "length(rabbit_nodes:all_running())."];
        block_in_place(|| self.cluster.nodes()[index].ctl(&ask)).ok()?.trim().parse().ok()
    }

    fn eval(&self, ask: &str) -> String {
        block_in_place(|| self.cluster.nodes()[0].ctl(&["eval", ask])).unwrap()
    }
}
