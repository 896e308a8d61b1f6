//! [`Argument`]: what exchanges, queues and bindings are declared with.

use std::collections::BTreeMap;
use std::fmt;

use downhaul_consumer::BrokerError;
use lapin::types::{AMQPValue, FieldTable};

use crate::topology::name;

/// The value of an argument, made of a text, a number or a truth value.
///
/// RabbitMQ compares it with what a queue was declared with, and a number is not its text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Argument {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Argument {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(truth) => truth.fmt(f),
        }
    }
}

/// By name, so that what is printed is always the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments(BTreeMap<String, Argument>);

impl Arguments {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<Argument>) {
        self.0.insert(name.into(), value.into());
    }

    /// A number that AMQP can hold; more is as good as the most.
    pub(crate) fn set_number(&mut self, name: &str, number: impl TryInto<i64>) {
        self.set(name, number.try_into().unwrap_or(i64::MAX));
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Argument::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Argument> {
        self.0.get(name)
    }

    pub(crate) fn table(&self) -> Result<FieldTable, BrokerError> {
        let mut table = FieldTable::default();
        for (key, value) in &self.0 {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Argument::Integer(number) => AMQPValue::LongLongInt(*number),
                Argument::Boolean(truth) => AMQPValue::Boolean(*truth),
            };
            table.insert(name("the argument", key)?, value);
        }
        Ok(table)
    }

    /// Each as `name = value`.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| format!("{name} = {value}"))
    }

    /// Each as `name value`, without the `x-` that all have.
    pub(crate) fn words(&self, but: &[&str]) -> impl Iterator<Item = String> {
        let shown = self.0.iter().filter(move |(name, _)| !but.contains(&name.as_str()));
        shown.map(|(name, value)| match value {
            Argument::Boolean(true) => plain(name),
            value => format!("{} {value}", plain(name)),
        })
    }
}

fn plain(name: &str) -> String {
    name.strip_prefix("x-").unwrap_or(name).replace('-', " ")
}
