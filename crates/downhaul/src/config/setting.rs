//! [`Setting`]: what there is to know of one key, and [`SETTINGS`]: all of them.

use std::time::Duration;

use super::app_config::AppConfig;
use super::error::Mistake;
use super::origin::Origin;
use super::secret::Secret;
use crate::logging::LogFormat;

/// What there is to know of one key.
pub(super) struct Setting {
    /// The names of the fields, joined with a dot.
    pub(super) key: &'static str,
    /// What a value looks like.
    pub(super) form: &'static str,
    /// Whether no value of it is shown.
    pub(super) secret: bool,
    /// The value as it is written, if there is one.
    pub(super) get: fn(&AppConfig) -> Option<String>,
    /// Takes a value as it is written; `None` where it has not the right form.
    set: fn(&mut AppConfig, &str) -> Option<()>,
}

const DURATION: &str = "a duration such as `30s` or `250ms`";
const TIME: &str = "a duration above zero, such as `30s` or `250ms`";
const ADDRESS: &str = "an address such as `127.0.0.1:8080` or `unix:/run/app.sock`";

/// All settings, in the order in which they are described.
pub(super) const SETTINGS: [Setting; 8] = [
    Setting {
        key: "grace",
        form: DURATION,
        secret: false,
        get: |config| written(config.grace),
        set: |config, text| put(&mut config.grace, duration(text)),
    },
    Setting {
        key: "start_within",
        form: TIME,
        secret: false,
        get: |config| written(config.start_within),
        set: |config, text| put(&mut config.start_within, time(text)),
    },
    Setting {
        key: "log",
        form: "`text` or `json`",
        secret: false,
        get: |config| {
            Some(match config.log {
                LogFormat::Text => "text".to_owned(),
                LogFormat::Json => "json".to_owned(),
            })
        },
        set: |config, text| put(&mut config.log, log_format(text)),
    },
    Setting {
        key: "control.address",
        form: "an address such as `127.0.0.1:9090`, or nothing for no control",
        secret: false,
        get: |config| config.control.address.clone(),
        set: |config, text| {
            let address = if text.is_empty() { None } else { Some(address(text)?) };
            put(&mut config.control.address, Some(address))
        },
    },
    Setting {
        key: "control.token",
        form: "one or more visible ASCII characters, without a space",
        secret: true,
        get: |config| config.control.token.as_ref().map(|token| token.reveal().to_owned()),
        set: |config, text| put(&mut config.control.token, token(text).map(Some)),
    },
    Setting {
        key: "http.address",
        form: ADDRESS,
        secret: false,
        get: |config| Some(config.http.address.clone()),
        set: |config, text| put(&mut config.http.address, address(text)),
    },
    Setting {
        key: "http.timeout",
        form: TIME,
        secret: false,
        get: |config| written(config.http.timeout),
        set: |config, text| put(&mut config.http.timeout, time(text)),
    },
    Setting {
        key: "http.lame_duck",
        form: DURATION,
        secret: false,
        get: |config| written(config.http.lame_duck),
        set: |config, text| put(&mut config.http.lame_duck, duration(text)),
    },
];

impl Setting {
    /// The environment variable.
    pub(super) fn variable(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.key.to_uppercase().replace('.', "_"))
    }

    /// Takes a value that came from there, where it is called `name`.
    pub(super) fn take(
        &self,
        config: &mut AppConfig,
        text: &str,
        name: &str,
        origin: Origin,
    ) -> Result<(), Mistake> {
        if (self.set)(config, text).is_none() {
            let value = (!self.secret).then(|| text.to_owned());
            return Err(Mistake::Value { name: name.to_owned(), value, form: self.form });
        }
        config.origins.note(self.key, origin, (self.get)(config));
        Ok(())
    }
}

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn written(duration: Duration) -> Option<String> {
    Some(humantime::format_duration(duration).to_string())
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// In which something is to be done, so that none at all is a mistake.
fn time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| !time.is_zero())
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn address(text: &str) -> Option<String> {
    let is_one = match text.strip_prefix("unix:") {
        Some(path) => !path.is_empty(),
        None => text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
    };
    is_one.then(|| text.to_owned())
}

/// A token travels in a header, where nothing else could be matched.
fn token(text: &str) -> Option<Secret> {
    let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    visible.then(|| Secret::new(text))
}
