//! [`World`]: a private node behind a proxy, what happens to it, and what it says of itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Broker, ConsumerHandle};
use downhaul_rabbitmq::{QueueType, RabbitMq};
use downhaul_testkit::faults::{
    CROWD, Fault, Menu, PATIENCE, Round, STOCK, Site, becomes_a_letter, last,
};
use downhaul_testkit::oracle::{Cause, LinkWatch, Oracle};
use downhaul_testkit::proxy::Proxy;
use downhaul_testkit::rabbitmq::{Node, NodeError};
use tokio::task::{block_in_place, yield_now};
use tokio::time::timeout;

use crate::menu::menu;

/// How many settlements a node that is killed may not have written down: it does so a fraction of
/// a second later.
const UNWRITTEN: u32 = 512;
/// As long as what was just parked is nobody's.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) struct World {
    node: Node,
    proxy: Proxy,
    /// With classic queues and with quorum queues: of those, a killed node loses nothing that comes
    /// out of a delay in that moment.
    brokers: [Arc<RabbitMq>; 2],
}

impl World {
    pub(crate) async fn new() -> Self {
        // Starting a node blocks for seconds.
        let node = block_in_place(Node::start).unwrap();
        let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()))).unwrap();
        let url = format!("amqp://guest:guest@{}/%2f", proxy.address());
        let second = Duration::from_secs(1);
        let brokers = [QueueType::Classic, QueueType::Quorum].map(|queue_type| {
            let broker = RabbitMq::new(&url).unwrap().queue_type(queue_type);
            Arc::new(broker.heartbeat(second).connect_timeout(second))
        });
        Self { node, proxy, brokers }
    }

    async fn kill(&mut self, round: &Round, time: Duration) {
        for consumer in round.consumers() {
            let instance = consumer.name().to_owned();
            round.oracle.log(Cause::LinkLost { instance, unsettled: UNWRITTEN });
        }
        self.node.kill();
        last(time).await;
        let node = &mut self.node;
        block_in_place(|| node.restart()).unwrap();
        self.delete_what_has_no_leader();
    }

    /// What an operator has to do with a quorum queue that was just being declared when its node
    /// was killed: RabbitMQ 3.10.8 leaves it without a leader for ever, and whoever publishes to it
    /// waits. It is empty, and who publishes to it next declares it again.
    fn delete_what_has_no_leader(&self) {
        let ask = "[io:format(\"~s~n\", [element(4, amqqueue:get_name(Q))]) || \
                   Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue, \
                   element(1, ra:members(amqqueue:get_pid(Q), 5000)) =/= ok], true.";
        let names = self.ctl(&["eval", ask]).unwrap();
        for name in names.lines().filter(|line| *line != "true" && !line.is_empty()) {
            println!("{name} has no leader");
            self.ctl(&["delete_queue", name]).unwrap();
        }
    }

    /// Publishes wait, and consumers finish what there is, but for what has to be published.
    async fn run_short(&self, round: &Round, time: Duration) {
        let alarm = "{{resource_limit, memory, node()}, []}";
        self.ctl(&["eval", &format!("rabbit_alarm:set_alarm({alarm}).")]).unwrap();
        let settled = timeout(PATIENCE, self.settled_but_for_letters(round)).await;
        assert!(settled.is_ok(), "consumers do not go on: {}", round.state(self));
        last(time).await;
        let clear = "rabbit_alarm:clear_alarm({resource_limit, memory, node()}).";
        self.ctl(&["eval", clear]).unwrap();
    }

    /// One that lives when it is chosen: it may be gone a moment later.
    fn close_one(&self, index: usize) {
        let list = self.ctl(&["list_connections", "pid"]).unwrap();
        let pids: Vec<_> = list.lines().filter(|line| line.starts_with('<')).collect();
        if !pids.is_empty() {
            let _ = self.ctl(&["close_connection", pids[index % pids.len()], "a test"]);
        }
    }

    /// Tried again, since a busy node does not always let it in.
    fn ctl(&self, arguments: &[&str]) -> Result<String, NodeError> {
        let attempt = || block_in_place(|| self.node.ctl(arguments));
        attempt().or_else(|_| attempt()).or_else(|_| attempt())
    }

    /// Waits until consumers have finished all that they can: what is left in hand has to be
    /// published to where it goes, its dead-letter queue or the one of its delay; and the queues
    /// are empty, or their consumers have as many of those as they may. Where keys are in order,
    /// what has come behind such a message of its key is left in hand as well.
    async fn settled_but_for_letters(&self, round: &Round) {
        let only_letters = |consumer: &ConsumerHandle| {
            let in_flight = consumer.snapshot().in_flight;
            in_flight.iter().all(|message| becomes_a_letter(&message.message_id))
        };
        let letters = |consumer: &ConsumerHandle| {
            let now = consumer.snapshot();
            now.in_flight.len() + now.waiting
        };
        let buffered = |consumer: &ConsumerHandle| consumer.snapshot().buffered;
        let prefetch = |consumer: &ConsumerHandle| usize::from(consumer.settings().prefetch());
        let is_full = |one: &ConsumerHandle| letters(one) >= prefetch(one);
        let crowd = || {
            let all = round.crowd.iter().all(|one| only_letters(one) && buffered(one) == 0);
            all && (round.crowd.iter().all(is_full) || self.ready(&[CROWD]) == Some(0))
        };
        let stock = || {
            let one = &round.stock;
            let held = letters(one) + buffered(one);
            let is_behind_one = letters(one) > 0 || buffered(one) == 0;
            let is_all = || held >= prefetch(one) || self.ready(&[STOCK]) == Some(0);
            only_letters(one) && is_behind_one && is_all()
        };
        while !(crowd() && stock()) {
            yield_now().await;
        }
    }

    /// The consumers that the node knows, sorted.
    fn consumers(&self) -> Vec<String> {
        let list = self.ctl(&["list_consumers", "queue_name", "prefetch_count"]).unwrap();
        let lines = list.lines().filter(|line| !line.starts_with("queue_name"));
        let mut consumers: Vec<_> = lines.map(str::to_owned).collect();
        consumers.sort_unstable();
        consumers
    }

    /// How many messages wait in queues and on their way back to them, as the queues themselves say
    /// it: listings of quorum queues are seconds old, and leave out what has expired there and is
    /// not yet where it goes.
    fn ready(&self, queues: &[&str]) -> Option<u64> {
        let names: Vec<_> = queues.iter().map(|queue| format!("\"{queue}\"")).collect();
        let ask = format!(
            "Expired = fun(#{{num_discarded := Some, num_discard_checked_out := More}}) -> \
             Some + More end, \
             Leaving = fun(Q) -> case amqqueue:get_type(Q) of rabbit_quorum_queue -> \
             Overview = fun rabbit_fifo:overview/1, \
             {{ok, {{_, Now}}, _}} = ra:leader_query(amqqueue:get_pid(Q), Overview), \
             Expired(Now); _ -> 0 end end, \
             Ready = fun(Q) -> {{ok, Count, _}} = rabbit_amqqueue:stat(Q), Count + Leaving(Q) end, \
             Name = fun(Q) -> binary_to_list(element(4, amqqueue:get_name(Q))) end, \
             Ours = fun(Q) -> [] =/= [N || N <- [{}], Name(Q) =:= N orelse \
             lists:prefix(N ++ \".retry.\", Name(Q))] end, \
             lists:sum([Ready(Q) || Q <- rabbit_amqqueue:list(), Ours(Q)]).",
            names.join(", ")
        );
        self.ctl(&["eval", &ask]).ok()?.trim().parse().ok()
    }
}

#[async_trait(?Send)]
impl Site for World {
    fn menu(&self) -> Menu {
        menu()
    }

    fn brokers(&self) -> [Arc<dyn Broker>; 2] {
        self.brokers.clone().map(|broker| broker as Arc<dyn Broker>)
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.proxy)
    }

    fn watch(&self, oracle: &Oracle, instance: &str, unsettled: u32) -> Option<LinkWatch> {
        Some(oracle.watch_links(instance, &self.proxy, unsettled))
    }

    /// What is parked while an alarm begins may wait in the node's buffer until the consumer has
    /// given it up, and is there nevertheless when the alarm is over.
    fn overheard(
        &self,
        oracle: &Oracle,
        _instance: &str,
        broker: &Arc<dyn Broker>,
    ) -> Arc<dyn Broker> {
        oracle.overhear_moves(Arc::clone(broker))
    }

    async fn suffer(&mut self, round: &Round, fault: Fault) {
        match fault {
            Fault::Freeze(time) => {
                self.node.pause();
                last(time).await;
                self.node.resume();
            }
            Fault::Kill(time) => self.kill(round, time).await,
            Fault::Alarm(time) => self.run_short(round, time).await,
            Fault::Close => drop(self.ctl(&["close_all_connections", "a test"]).unwrap()),
            Fault::CloseOne(index) => self.close_one(index),
            other => unreachable!("{other:?} is not on the menu"),
        }
    }

    async fn drained(&self, consumers: &[&ConsumerHandle], queues: &[&str]) {
        let at_rest = || {
            let idle = |consumer: &&ConsumerHandle| {
                let now = consumer.snapshot();
                now.in_flight.is_empty() && now.buffered == 0 && now.waiting == 0
            };
            self.ready(queues) == Some(0) && consumers.iter().all(idle)
        };
        loop {
            if at_rest() {
                let all = consumers.iter().map(|consumer| consumer.idle_for(QUIET));
                futures_util::future::join_all(all).await;
                if at_rest() {
                    return;
                }
            }
            // So that whoever bounds this gets a turn: asking takes half a second.
            yield_now().await;
        }
    }

    /// Each queue has its consumers, each with its prefetch, and no more of them.
    async fn inspect(&self, round: &Round) {
        let mut wanted: Vec<_> = round.crowd.iter().map(|one| line(CROWD, one)).collect();
        wanted.push(line(STOCK, &round.stock));
        wanted.sort_unstable();
        let has_them = async {
            while self.consumers() != wanted {
                yield_now().await;
            }
        };
        if timeout(PATIENCE, has_them).await.is_err() {
            assert_eq!(self.consumers(), wanted, "{}", round.state(self));
        }
    }

    fn state(&self) -> String {
        let list = |what: &[&str]| self.ctl(what).unwrap_or_else(|error| error.to_string());
        let queues = ["list_queues", "name", "messages_ready", "messages_unacknowledged"];
        let connections = ["list_connections", "name", "state", "channels"];
        [format!("{:?}", self.proxy.counts()), list(&queues), list(&connections)].join("\n")
    }
}

fn line(queue: &str, consumer: &ConsumerHandle) -> String {
    format!("{queue}\t{}", consumer.settings().prefetch())
}
