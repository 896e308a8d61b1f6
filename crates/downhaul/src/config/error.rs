//! [`ConfigError`]: what is wrong with settings.

use std::fmt;

/// What is wrong with settings: all of it, a line each, with the key and never with a secret.
///
/// # Examples
///
/// ```
/// use downhaul::config::AppConfig;
///
/// let vars = [("SHOP_GRACE", "30"), ("SHOP_CONTROL_TOKN", "s3cret")];
/// let error = AppConfig::default().vars("SHOP_", vars).unwrap_err();
/// assert_eq!(error.mistakes(), [
///     "unknown setting `SHOP_CONTROL_TOKN`: the nearest known one is `SHOP_CONTROL_TOKEN`",
///     "`SHOP_GRACE` is `30`: want a duration such as `30s` or `250ms`",
/// ]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

/// One thing that is wrong.
pub(super) enum Mistake {
    /// A key that does not exist. Its value may be a secret, so it is not here.
    Unknown { name: String, nearest: String },
    /// A value of the wrong form; none where it is a secret.
    Value { name: String, value: Option<String>, form: &'static str },
    /// A value that is no text.
    NotText { name: String },
}

impl Mistake {
    /// Says of an unknown key which of the known ones is nearest.
    pub(super) fn unknown(name: String, known: impl IntoIterator<Item = String>) -> Self {
        let known = known.into_iter();
        let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, &name));
        Self::Unknown { name, nearest: nearest.unwrap_or_default() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, nearest } => {
                write!(f, "unknown setting `{name}`: the nearest known one is `{nearest}`")
            }
            Self::Value { name, value: Some(value), form } => {
                write!(f, "`{name}` is `{value}`: want {form}")
            }
            Self::Value { name, value: None, form } => {
                write!(f, "`{name}` has a value that is not shown: want {form}")
            }
            Self::NotText { name } => write!(f, "`{name}` is not UTF-8"),
        }
    }
}

impl ConfigError {
    pub(super) fn of(mistakes: &[Mistake]) -> Self {
        Self { mistakes: mistakes.iter().map(ToString::to_string).collect() }
    }

    /// Each thing that is wrong, in words.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

/// The same as `Display`: a `main` that returns the error prints this.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}
