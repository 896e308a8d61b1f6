//! The settings of an app, read from files and the environment.
//!
//! [`AppConfig`] is a plain struct with a default for everything. It is deserialized from any
//! format of serde that describes itself, such as TOML or JSON, and takes environment variables
//! over that. A mistake is an error that names its key: a key that does not exist is not ignored.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use downhaul::App;
//! use downhaul::config::AppConfig;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = r#"{ "grace": "20s", "control": { "address": "127.0.0.1:9090" } }"#;
//! let config: AppConfig = serde_json::from_str(file)?;
//! // A `main` says `config.env("ORDERS_")?`.
//! let config = config.vars("ORDERS_", [("ORDERS_GRACE", "25s"), ("PATH", "/bin")])?;
//! assert_eq!(config.grace, Duration::from_secs(25));
//!
//! let app = App::new("orders").configure(&config);
//! assert_eq!(app.plan().grace, Duration::from_secs(25));
//!
//! let mistake = config.vars("ORDERS_", [("ORDERS_GRASE", "25s")]).unwrap_err();
//! let words = "unknown setting `ORDERS_GRASE`: the nearest known one is `ORDERS_GRACE`";
//! assert_eq!(mistake.to_string(), words);
//! # Ok(())
//! # }
//! ```

mod app_config;
mod apply;
mod describe;
mod env;
mod error;
mod file;
mod origin;
mod secret;
mod setting;

pub use self::app_config::{AppConfig, ControlConfig, HttpConfig};
pub use self::error::ConfigError;
pub use self::secret::Secret;
