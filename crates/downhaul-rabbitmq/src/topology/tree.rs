//! A topology as a tree for people: exchanges with whom they lead to, then queues.

use std::fmt;

use crate::topology::queue::{DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, TYPE};
use crate::topology::{Binding, Exchange, Queue, Target, Topology};

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for exchange in &self.exchanges {
            write_node(f, &exchange_words(exchange), &self.flows_from(&exchange.name))?;
        }
        // Those that every vhost has, as far as they are used.
        let mut others: Vec<&str> = Vec::new();
        for Binding { exchange, .. } in &self.bindings {
            if self.find_exchange(exchange).is_none() && !others.contains(&exchange.as_str()) {
                others.push(exchange);
                write_node(f, &format!("exchange {exchange}"), &self.flows_from(exchange))?;
            }
        }
        for queue in &self.queues {
            let dead = queue.dead_letters().map(|letters| dead_letter_words(queue, letters));
            write_node(f, &queue_words(queue), dead.as_slice())?;
        }
        Ok(())
    }
}

impl Topology {
    fn flows_from(&self, exchange: &str) -> Vec<String> {
        let flows = self.bindings.iter().filter(|binding| binding.exchange == exchange);
        flows.map(|binding| binding.to_string()).collect()
    }
}

fn write_node(f: &mut fmt::Formatter<'_>, words: &str, branches: &[String]) -> fmt::Result {
    writeln!(f, "{words}")?;
    for (at, branch) in branches.iter().enumerate() {
        let corner = if at + 1 == branches.len() { '└' } else { '├' };
        writeln!(f, "{corner}─ {branch}")?;
    }
    Ok(())
}

fn exchange_words(exchange: &Exchange) -> String {
    let begin = format!("exchange {}, {}", exchange.name, exchange.kind.word());
    exchange.arguments.words(&[]).fold(begin, |words, word| words + ", " + &word)
}

fn queue_words(queue: &Queue) -> String {
    let kind = queue.arguments.text(TYPE).unwrap_or("classic");
    let told = [TYPE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY];
    let begin = format!("queue {}, {kind}", queue.name);
    queue.arguments.words(&told).fold(begin, |words, word| words + ", " + &word)
}

fn dead_letter_words(queue: &Queue, (exchange, key): (&str, Option<&str>)) -> String {
    match (exchange, key) {
        ("", key) => format!("dead letters → queue {}", key.unwrap_or(&queue.name)),
        (exchange, None) => format!("dead letters → exchange {exchange}"),
        (exchange, Some(key)) => format!("dead letters → exchange {exchange} as {key}"),
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.arguments.pairs().collect();
        match (self.key.as_str(), headers.as_slice()) {
            ("", []) => write!(f, "→ ")?,
            ("", headers) => write!(f, "{} → ", headers.join(", "))?,
            (key, []) => write!(f, "{key} → ")?,
            (key, headers) => write!(f, "{key}, {} → ", headers.join(", "))?,
        }
        match &self.to {
            Target::Exchange(name) => write!(f, "exchange {name}"),
            Target::Queue(name) => write!(f, "queue {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_is_a_tree_that_a_person_reads() {
        let topology = Topology::new()
            .exchange(Exchange::topic("shop").alternate("unrouted"))
            .exchange(Exchange::fanout("unrouted"))
            .exchange(Exchange::headers("by-headers"))
            .queue(
                Queue::quorum("orders")
                    .single_active_consumer()
                    .delivery_limit(5)
                    .dead_letter_to_with("shop", "order.lost"),
            )
            .queue(Queue::classic("lost").dead_letter_to("unrouted"))
            .queue(Queue::classic("log").argument("x-queue-type", "stream"))
            .bind("orders", "shop", "order.#")
            .bind("lost", "shop", "order.lost")
            .bind_exchange("by-headers", "shop", "#")
            .bind("lost", "unrouted", "")
            .bind_headers("lost", "by-headers", [("x-match", "any"), ("kind", "parcel")])
            .bind("lost", "amq.topic", "#");
        let tree = "\
exchange shop, topic, alternate exchange unrouted
├─ order.# → queue orders
├─ order.lost → queue lost
└─ # → exchange by-headers
exchange unrouted, fanout
└─ → queue lost
exchange by-headers, headers
└─ kind = parcel, x-match = any → queue lost
exchange amq.topic
└─ # → queue lost
queue orders, quorum, delivery limit 5, single active consumer
└─ dead letters → exchange shop as order.lost
queue lost, classic
└─ dead letters → exchange unrouted
queue log, stream
";
        assert_eq!(topology.to_string(), tree);
    }
}
