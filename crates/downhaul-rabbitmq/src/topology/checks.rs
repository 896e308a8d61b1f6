//! What can be said of a topology without asking a broker.

use downhaul_consumer::{BrokerError, BrokerErrorKind};

use crate::topology::queue::{
    DEAD_LETTER_STRATEGY, DELIVERY_LIMIT, MAX_BYTES, MAX_LENGTH, OVERFLOW, Overflow, Queue, TYPE,
};
use crate::topology::{Argument, Binding, Target, Topology, name};

impl Topology {
    /// What works, and loses messages. One line each, in words.
    pub fn warnings(&self) -> Vec<String> {
        let of_queues = self.queues.iter().flat_map(warnings);
        let of_letters = self.queues.iter().filter_map(|queue| self.astray(queue));
        of_queues.chain(of_letters).collect()
    }

    /// Dead letters that go where the topology says nothing of.
    fn astray(&self, queue: &Queue) -> Option<String> {
        let (exchange, key) = queue.dead_letters()?;
        let (what, target) = match (exchange, key) {
            ("", Some(key)) if self.find_queue(key).is_none() => ("queue", key),
            ("", None) => ("queue", queue.name.as_str()),
            ("", _) => return None,
            (exchange, _) if self.knows_exchange(exchange) => return None,
            (exchange, _) => ("exchange", exchange),
        };
        Some(format!(
            "dead letters of queue `{}` go to {what} `{target}`, and are lost where there is none: \
             the topology does not declare it",
            queue.name
        ))
    }

    fn knows_exchange(&self, name: &str) -> bool {
        // Every vhost has these.
        name.starts_with("amq.") || self.find_exchange(name).is_some()
    }

    /// # Errors
    ///
    /// The first thing that no broker takes, or that cannot be meant.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let exchanges: Vec<_> = self.exchanges.iter().map(|exchange| &*exchange.name).collect();
        let queues: Vec<_> = self.queues.iter().map(|queue| &*queue.name).collect();
        for (what, names) in [("exchange", exchanges), ("queue", queues)] {
            unique(what, &names)?;
        }
        self.exchanges.iter().try_for_each(|exchange| exchange.arguments.table().map(drop))?;
        self.queues.iter().try_for_each(check_queue)?;
        self.bindings.iter().try_for_each(|binding| self.check_binding(binding))
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), BrokerError> {
        let Binding { to, exchange, key, arguments } = binding;
        let undeclared = |what: &str, name: &str| {
            wrong(format!("a binding names {what} `{name}`, which it does not declare"))
        };
        if !self.knows_exchange(exchange) {
            return Err(undeclared("exchange", exchange));
        }
        match to {
            Target::Exchange(name) if !self.knows_exchange(name) => {
                return Err(undeclared("exchange", name));
            }
            Target::Queue(name) if self.find_queue(name).is_none() => {
                return Err(undeclared("queue", name));
            }
            Target::Exchange(_) | Target::Queue(_) => {}
        }
        name("the routing key", key)?;
        arguments.table().map(drop)
    }
}

fn unique(what: &str, names: &[&str]) -> Result<(), BrokerError> {
    for (at, text) in names.iter().enumerate() {
        if text.is_empty() {
            return Err(wrong(format!("{} {what} has no name", article(what))));
        }
        name(&format!("the name of {} {what}", article(what)), text)?;
        if names[..at].contains(text) {
            return Err(wrong(format!("{what} `{text}` is in it twice")));
        }
    }
    Ok(())
}

fn article(what: &str) -> &'static str {
    if what.starts_with('e') { "an" } else { "a" }
}

fn check_queue(queue: &Queue) -> Result<(), BrokerError> {
    let Queue { name, arguments, .. } = queue;
    arguments.table()?;
    let quorum_alone = [DELIVERY_LIMIT, DEAD_LETTER_STRATEGY];
    if let Some(argument) = quorum_alone.into_iter().find(|argument| arguments.has(argument))
        && !queue.is_quorum()
    {
        return Err(wrong(format!(
            "queue `{name}` is classic, and only quorum queues have {argument}"
        )));
    }
    let quorum_types = [None, Some("quorum")];
    if queue.is_quorum() && !quorum_types.contains(&arguments.text(TYPE)) {
        return Err(wrong(format!("queue `{name}` is quorum, and has another {TYPE}")));
    }
    let overflow = arguments.text(OVERFLOW);
    if queue.is_quorum() && overflow == Some(Overflow::RejectPublishDeadLetter.word()) {
        let word = Overflow::RejectPublishDeadLetter.word();
        return Err(wrong(format!(
            "queue `{name}` is quorum, and only classic queues have {word}"
        )));
    }
    let is_careful = arguments.text(DEAD_LETTER_STRATEGY) == Some("at-least-once");
    if is_careful && queue.dead_letters().is_none() {
        return Err(wrong(format!(
            "queue `{name}` has dead letters at least once, and nowhere to send them"
        )));
    }
    if is_careful && overflow != Some(Overflow::RejectPublish.word()) {
        return Err(wrong(format!(
            "queue `{name}` has dead letters at least once, which takes an overflow of \
             `RejectPublish`: RabbitMQ passes over it otherwise"
        )));
    }
    Ok(())
}

fn warnings(queue: &Queue) -> Vec<String> {
    let (Queue { name, arguments, .. }, mut warnings) = (queue, Vec::new());
    let drops = queue.dead_letters().is_none();
    match arguments.get(DELIVERY_LIMIT) {
        // None, since RabbitMQ 4.0.
        Some(Argument::Integer(..0)) => {}
        Some(limit) if drops => warnings.push(format!(
            "quorum queue `{name}` drops a message for good when it was delivered more than \
             {limit} times: it has a delivery limit and no dead-letter exchange"
        )),
        None if drops && queue.is_quorum() => warnings.push(format!(
            "quorum queue `{name}` drops a message for good when RabbitMQ 4.0 or newer has \
             delivered it more than 20 times, which is its delivery limit where none is set: it \
             has no dead-letter exchange"
        )),
        _ => {}
    }
    let is_bounded = arguments.has(MAX_LENGTH) || arguments.has(MAX_BYTES);
    let overflow = arguments.text(OVERFLOW).unwrap_or("drop-head");
    if drops && is_bounded && overflow == "drop-head" {
        warnings.push(format!(
            "queue `{name}` drops its oldest messages for good, confirmed ones too, when it is \
             full: see `Overflow::RejectPublish`, or give it a dead-letter exchange"
        ));
    }
    warnings
}

fn wrong(words: impl Into<String>) -> BrokerError {
    let words = format!("the topology is wrong: {}", words.into());
    BrokerError::new(BrokerErrorKind::Configuration, words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::topology::Exchange;

    fn of(queue: Queue) -> Topology {
        Topology::new().queue(queue)
    }

    #[test]
    fn what_is_lost_is_said_and_what_is_safe_is_not() {
        let limited = Queue::quorum("q").delivery_limit(5);
        let warned = of(limited.clone()).warnings();
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].contains("`q` drops") && warned[0].contains("more than 5 times"));
        let warned = of(Queue::quorum("q")).warnings();
        assert!(warned[0].contains("4.0") && warned.len() == 1, "{warned:?}");
        let warned = of(Queue::classic("q").max_length(9)).warnings();
        assert!(warned[0].contains("oldest") && warned.len() == 1, "{warned:?}");
        let warned = of(limited.clone().dead_letter_to("nowhere")).warnings();
        assert!(warned[0].contains("exchange `nowhere`") && warned.len() == 1, "{warned:?}");
        let warned = of(limited.clone().dead_letter_to_queue("nowhere")).warnings();
        assert!(warned[0].contains("queue `nowhere`") && warned.len() == 1, "{warned:?}");

        let full = Queue::classic("full").max_length(9).overflow(Overflow::RejectPublish);
        let unlimited = of(Queue::quorum("q").argument("x-delivery-limit", -1));
        assert_eq!(unlimited.warnings(), Vec::<String>::new());
        let safe = of(limited.dead_letter_to_queue("dead"))
            .queue(Queue::classic("dead"))
            .queue(full)
            .queue(Queue::quorum("other").dead_letter_to("amq.fanout"));
        assert_eq!(safe.warnings(), Vec::<String>::new());
        safe.check().unwrap();
    }

    #[test]
    fn a_queue_is_of_the_type_that_its_arguments_say() {
        let quorum = of(Queue::classic("q").argument("x-queue-type", "quorum").delivery_limit(5));
        quorum.check().unwrap();
        assert_eq!(quorum.warnings(), of(Queue::quorum("q").delivery_limit(5)).warnings());
    }

    #[test]
    fn what_cannot_be_is_refused_before_anybody_is_asked() {
        let careful = Queue::quorum("q").dead_letter_at_least_once();
        let shop = || Topology::new().exchange(Exchange::topic("shop"));
        for (topology, words) in [
            (of(Queue::classic("q").delivery_limit(5)), "x-delivery-limit"),
            (of(Queue::classic("q").dead_letter_at_least_once()), "x-dead-letter-strategy"),
            (of(careful.clone()), "nowhere to send them"),
            (of(careful.dead_letter_to("amq.fanout")), "`RejectPublish`"),
            (
                of(Queue::quorum("q").overflow(Overflow::RejectPublishDeadLetter)),
                "reject-publish-dlx",
            ),
            (of(Queue::quorum("q").argument("x-queue-type", "classic")), "another x-queue-type"),
            (of(Queue::classic("")), "a queue has no name"),
            (shop().exchange(Exchange::direct("")), "an exchange has no name"),
            (of(Queue::classic("q")).queue(Queue::quorum("q")), "queue `q` is in it twice"),
            (shop().exchange(Exchange::direct("shop")), "exchange `shop` is in it twice"),
            (shop().bind("q", "shop", "#"), "queue `q`, which it does not declare"),
            (of(Queue::classic("q")).bind("q", "shop", "#"), "exchange `shop`, which it does not"),
            (shop().bind_exchange("other", "shop", "#"), "exchange `other`, which"),
            (of(Queue::classic("q".repeat(256))), "256 bytes"),
            (of(Queue::classic("q").argument("a".repeat(256), true)), "256 bytes"),
        ] {
            let error = topology.check().unwrap_err();
            assert_eq!(error.kind(), BrokerErrorKind::Configuration);
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        let longest = of(Queue::classic("q").message_ttl(Duration::MAX).expires(Duration::ZERO));
        longest.check().unwrap();
    }
}
