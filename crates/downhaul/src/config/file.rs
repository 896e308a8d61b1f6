//! Settings from a file, in any format of serde that describes itself.
//!
//! The same table as for the environment decides what a key is and what its value looks like, so a
//! mistake reads the same wherever it was made.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::app_config::AppConfig;
use super::error::Mistake;
use super::origin::Origin;
use super::setting::{SETTINGS, Setting};

impl<'de> Deserialize<'de> for AppConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Self::default();
        Section { name: String::new(), config: &mut config }.deserialize(deserializer)?;
        Ok(config)
    }
}

/// The settings whose keys begin with this name; with none, all.
struct Section<'a> {
    name: String,
    config: &'a mut AppConfig,
}

impl Section<'_> {
    /// The whole key of what is called so in this section.
    fn key(&self, name: &str) -> String {
        match self.name.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.name),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // `deserialize_map` would have some formats show the value that is none.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.is_empty() {
            true => f.write_str("settings by their keys"),
            false => write!(f, "settings by their keys in `{}`", self.name),
        }
    }

    /// A value in the place of a section may be a secret, so it is not shown.
    fn visit_str<E: Error>(self, _text: &str) -> Result<(), E> {
        Err(Error::custom(format!("`{}` is a text: want settings by their keys", self.name)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let key = self.key(&name);
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                let Some(text) = map.next_value_seed(Value(setting))? else { continue };
                let taken = setting.take(self.config, &text, &key, Origin::File);
                taken.map_err(Error::custom)?;
            } else if sections().any(|section| section == key) {
                map.next_value_seed(Section { name: key, config: self.config })?;
            } else {
                let keys = SETTINGS.iter().map(|setting| setting.key.to_owned());
                let known = keys.chain(sections().map(str::to_owned));
                return Err(Error::custom(Mistake::unknown(key, known)));
            }
        }
        Ok(())
    }
}

/// What settings stand in that are not at the top.
fn sections() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter_map(|setting| Some(setting.key.rsplit_once('.')?.0))
}

/// A value as it is written; none where it is null.
struct Value(&'static Setting);

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Value {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for `{}`", self.0.form, self.0.key)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
