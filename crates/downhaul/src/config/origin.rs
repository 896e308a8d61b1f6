//! [`Origins`]: where settings came from.

use std::collections::BTreeMap;
use std::fmt;

use super::secret::Secret;

/// Where a setting came from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// What was deserialized.
    File,
    /// The environment variable of this name.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Where the settings came from that were read, by key, with what was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(BTreeMap<&'static str, (Origin, Option<Secret>)>);

impl Origins {
    pub(super) fn note(&mut self, key: &'static str, origin: Origin, value: Option<String>) {
        self.0.insert(key, (origin, value.map(Secret::new)));
    }

    /// Where a value came from. The program may have changed what was read.
    pub(super) fn of(&self, key: &str, value: Option<&str>, default: Option<&str>) -> String {
        match self.0.get(key) {
            Some((origin, read)) if read.as_ref().map(Secret::reveal) == value => {
                origin.to_string()
            }
            None if value == default => "default".to_owned(),
            _ => "the program".to_owned(),
        }
    }
}
