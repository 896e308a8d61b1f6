//! [`AppConfig`]: the settings of an app.

use std::time::Duration;

use super::origin::Origins;
use super::secret::Secret;
use crate::app::{GRACE, START};
use crate::components::http::LAME_DUCK;
use crate::logging::LogFormat;

/// The settings of an app, with a default for each.
///
/// Its keys are the names of the fields, joined with a dot: `control.token`. The environment
/// variable is the same in capitals, after a prefix: `ORDERS_CONTROL_TOKEN`. Durations are written
/// as `30s`, `250ms` or `1m 30s`.
///
/// No error here shows a secret. A parser's own may show the line that it is about, as that of TOML
/// does: a token is better given in the environment.
///
/// | key | default | |
/// |---|---|---|
/// | `grace` | `30s` | [`App::grace`](crate::App::grace) |
/// | `start_within` | `10s` | [`App::start_within`](crate::App::start_within) |
/// | `log` | `text` | how log lines look: `text` or `json` |
/// | `control.address` | none | where [`Control`](crate::Control) is; without it there is none |
/// | `control.token` | none | [`Control::token`](crate::Control::token) |
/// | `http.address` | `127.0.0.1:8080` | where to serve HTTP |
/// | `http.timeout` | `30s` | how long a request may take |
/// | `http.lame_duck` | `250ms` | [`HttpServer::lame_duck`](crate::HttpServer::lame_duck) |
///
/// # Examples
///
/// ```
/// use downhaul::config::AppConfig;
/// use downhaul::http::Router;
/// use downhaul::{App, BoxError};
///
/// fn service(config: &AppConfig) -> App {
///     let mut app = App::new("orders").configure(config);
///     app.add("http", config.http.server(Router::new()), []);
///     app
/// }
///
/// # fn main() -> Result<(), BoxError> {
/// let config = AppConfig::from_env("ORDERS_")?;
/// println!("{}", config.describe());
/// let app = service(&config);
/// # drop(app);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppConfig {
    /// How long stopping may take in all.
    pub grace: Duration,
    /// How long each component may take to start that does not say so itself.
    pub start_within: Duration,
    /// How log lines look; for [`Telemetry::install`](crate::Telemetry::install).
    pub log: LogFormat,
    /// Probes and control over HTTP.
    pub control: ControlConfig,
    /// The server of the service.
    pub http: HttpConfig,
    /// Where what is no default came from.
    pub(super) origins: Origins,
}

/// Settings of [`Control`](crate::Control).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlConfig {
    /// Where to serve it, such as `127.0.0.1:9090`. Without an address there is none.
    pub address: Option<String>,
    /// What changes things only for its bearer.
    pub token: Option<Secret>,
}

/// Settings of an [`HttpServer`](crate::HttpServer).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Where it listens, such as `0.0.0.0:8080` or `unix:/run/orders.sock`.
    pub address: String,
    /// How long a request may take.
    pub timeout: Duration,
    /// How long the server goes on to accept when it is told to stop.
    pub lame_duck: Duration,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            grace: GRACE,
            start_within: START,
            log: LogFormat::Text,
            control: ControlConfig::default(),
            http: HttpConfig::default(),
            origins: Origins::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            timeout: Duration::from_secs(30),
            lame_duck: LAME_DUCK,
        }
    }
}
