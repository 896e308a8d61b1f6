//! [`Exchange`]: where messages are published to, and who gets them there.

use lapin::ExchangeKind;

use crate::topology::argument::{Argument, Arguments};

const ALTERNATE: &str = "alternate-exchange";

/// A durable exchange of a [`Topology`](crate::Topology).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) arguments: Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Fanout,
    Headers,
    Topic,
}

impl Exchange {
    /// To the queues that are bound with exactly the routing key.
    pub fn direct(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Direct)
    }

    /// To all queues that are bound.
    pub fn fanout(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Fanout)
    }

    /// To the queues whose bindings have headers of the message as their arguments.
    pub fn headers(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Headers)
    }

    /// To the queues that are bound with a pattern of the routing key: `*` is one word of it and
    /// `#` is any number of them.
    pub fn topic(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Topic)
    }

    fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind, arguments: Arguments::default() }
    }

    /// Sends what no queue takes to another exchange instead.
    #[must_use]
    pub fn alternate(self, exchange: impl Into<String>) -> Self {
        self.argument(ALTERNATE, exchange.into())
    }

    /// Any other argument, such as a plugin's.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<Argument>) -> Self {
        self.arguments.set(name, value);
        self
    }

    pub(crate) fn alternate_name(&self) -> Option<&str> {
        self.arguments.text(ALTERNATE)
    }
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
            Self::Topic => "topic",
        }
    }

    pub(crate) fn at_broker(self) -> ExchangeKind {
        match self {
            Self::Direct => ExchangeKind::Direct,
            Self::Fanout => ExchangeKind::Fanout,
            Self::Headers => ExchangeKind::Headers,
            Self::Topic => ExchangeKind::Topic,
        }
    }
}
