//! Which queues the dead letters of a queue get to.

use crate::topology::{Binding, Target, Topology};

impl Topology {
    /// Adds the queues of this topology that dead letters of `queues` can get to, directly or not.
    pub(crate) fn follow_dead_letters<'a>(&'a self, queues: &mut Vec<&'a str>) {
        let mut at = 0;
        while let Some(name) = queues.get(at).copied() {
            at += 1;
            let letters = self.find_queue(name).and_then(|queue| queue.dead_letters());
            let reached = match letters {
                Some(("", Some(queue))) => {
                    self.find_queue(queue).map(|queue| &*queue.name).into_iter().collect()
                }
                Some((exchange, _)) => self.fed_by(exchange),
                None => Vec::new(),
            };
            for queue in reached {
                if !queues.contains(&queue) {
                    queues.push(queue);
                }
            }
        }
    }

    /// The queues behind an exchange, whatever the routing key: that may be any message's.
    fn fed_by<'a>(&'a self, exchange: &'a str) -> Vec<&'a str> {
        let (mut exchanges, mut queues, mut at) = (vec![exchange], Vec::new(), 0);
        while let Some(name) = exchanges.get(at).copied() {
            at += 1;
            let alternate = self.find_exchange(name).and_then(|exchange| exchange.alternate_name());
            let bound = self.bindings.iter().filter(|binding| binding.exchange == name);
            let mut next: Vec<&str> = alternate.into_iter().collect();
            for Binding { to, .. } in bound {
                match to {
                    Target::Exchange(exchange) => next.push(exchange),
                    Target::Queue(queue) => queues.push(queue.as_str()),
                }
            }
            next.retain(|exchange| !exchanges.contains(exchange));
            exchanges.append(&mut next);
        }
        queues
    }
}

#[cfg(test)]
mod tests {
    use crate::{Exchange, Queue, Topology};

    #[test]
    fn dead_letters_are_followed_through_exchanges_and_around_circles() {
        let topology = Topology::new()
            .exchange(Exchange::fanout("first").alternate("second"))
            .exchange(Exchange::topic("second"))
            .exchange(Exchange::topic("third"))
            .queue(Queue::quorum("orders").dead_letter_to("first"))
            .queue(Queue::classic("lost").dead_letter_to_queue("tomb"))
            .queue(Queue::classic("tomb").dead_letter_to_queue("orders"))
            .queue(Queue::classic("audit"))
            .queue(Queue::classic("other"))
            .bind_exchange("third", "second", "#")
            .bind_exchange("first", "third", "#")
            .bind("lost", "second", "#")
            .bind("audit", "third", "#")
            .bind("other", "amq.topic", "#");
        let follow = |queue| {
            let mut queues = vec![queue];
            topology.follow_dead_letters(&mut queues);
            queues.sort_unstable();
            queues
        };
        assert_eq!(follow("orders"), ["audit", "lost", "orders", "tomb"]);
        assert_eq!(follow("other"), ["other"]);
        assert_eq!(follow("not in it"), ["not in it"]);
    }
}
