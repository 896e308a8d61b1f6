//! Settings from environment variables.

use std::ffi::OsString;

use super::app_config::AppConfig;
use super::error::{ConfigError, Mistake};
use super::origin::Origin;
use super::setting::SETTINGS;

impl AppConfig {
    /// The defaults, with the environment over them: [`env`](Self::env).
    ///
    /// # Errors
    ///
    /// As [`vars`](Self::vars).
    ///
    /// # Panics
    ///
    /// As [`vars`](Self::vars).
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        Self::default().env(prefix)
    }

    /// Takes the settings that the environment of the process has over these: with the prefix
    /// `ORDERS_`, `grace` is `ORDERS_GRACE`, and `control.token` is `ORDERS_CONTROL_TOKEN`.
    ///
    /// # Errors
    ///
    /// As [`vars`](Self::vars).
    ///
    /// # Panics
    ///
    /// As [`vars`](Self::vars).
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.vars(prefix, std::env::vars_os())
    }

    /// As [`env`](Self::env), from these variables. What has not the prefix is left alone.
    ///
    /// A service that has variables of its own under the same prefix leaves them out:
    ///
    /// ```
    /// use downhaul::config::AppConfig;
    ///
    /// # fn main() -> Result<(), downhaul::config::ConfigError> {
    /// let others = std::env::vars_os().filter(|(name, _)| name != "SHOP_BROKER");
    /// let config = AppConfig::default().vars("SHOP_", others)?;
    /// # let _ = config;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Every variable with the prefix that is no setting, and every value of the wrong form.
    ///
    /// # Panics
    ///
    /// If the prefix is empty: all variables would have it.
    pub fn vars<K, V>(
        mut self,
        prefix: &str,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        assert!(!prefix.is_empty(), "all variables would be settings: give a prefix");
        let ours = vars.into_iter().filter_map(|(name, value)| {
            // A name that is not UTF-8 is none of ours.
            let name = name.into().into_string().ok()?;
            name.starts_with(prefix).then(|| (name, value.into()))
        });
        let mut ours: Vec<(String, OsString)> = ours.collect();
        ours.sort();
        let taken = ours.into_iter().map(|(name, value)| self.variable(prefix, name, value));
        let mistakes: Vec<Mistake> = taken.filter_map(Result::err).collect();
        match mistakes.is_empty() {
            true => Ok(self),
            false => Err(ConfigError::of(&mistakes)),
        }
    }

    fn variable(&mut self, prefix: &str, name: String, value: OsString) -> Result<(), Mistake> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable(prefix) == name) else {
            let known = SETTINGS.iter().map(|setting| setting.variable(prefix));
            return Err(Mistake::unknown(name, known));
        };
        match value.into_string() {
            Ok(text) => setting.take(self, &text, &name, Origin::Variable(name.clone())),
            Err(_not_utf_8) => Err(Mistake::NotText { name }),
        }
    }
}
