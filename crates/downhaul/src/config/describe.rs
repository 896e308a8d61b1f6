//! A table of all settings.

use super::app_config::AppConfig;
use super::secret::REDACTED;
use super::setting::{SETTINGS, Setting};

/// What stands for no value.
const NONE: &str = "-";

impl AppConfig {
    /// A table of all settings: the value, the default, and where the value came from. Secrets are
    /// not in it.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul::config::AppConfig;
    ///
    /// # fn main() -> Result<(), downhaul::config::ConfigError> {
    /// let vars = [("SHOP_GRACE", "20s"), ("SHOP_CONTROL_TOKEN", "s3cret")];
    /// let config = AppConfig::default().vars("SHOP_", vars)?;
    /// let expected = "\
    /// setting          value           default         from
    /// grace            20s             30s             SHOP_GRACE
    /// start_within     10s             10s             default
    /// log              text            text            default
    /// control.address  -               -               default
    /// control.token    <redacted>      -               SHOP_CONTROL_TOKEN
    /// http.address     127.0.0.1:8080  127.0.0.1:8080  default
    /// http.timeout     30s             30s             default
    /// http.lame_duck   250ms           250ms           default";
    /// assert_eq!(config.describe(), expected);
    /// # Ok(())
    /// # }
    /// ```
    pub fn describe(&self) -> String {
        let header = ["setting", "value", "default", "from"].map(str::to_owned);
        let rows: Vec<_> =
            std::iter::once(header).chain(SETTINGS.iter().map(|one| self.row(one))).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths = [0, 1, 2].map(|column| width(column).unwrap_or_default());
        let lines = rows.iter().map(|[key, value, default, from]| {
            let [first, second, third] = widths;
            format!("{key:first$}  {value:second$}  {default:third$}  {from}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn row(&self, setting: &Setting) -> [String; 4] {
        let (value, default) = ((setting.get)(self), (setting.get)(&Self::default()));
        let from = self.origins.of(setting.key, value.as_deref(), default.as_deref());
        let shown = |value: Option<String>| match value {
            None => NONE.to_owned(),
            Some(_) if setting.secret => REDACTED.to_owned(),
            Some(text) => text,
        };
        [setting.key.to_owned(), shown(value), shown(default), from]
    }
}
