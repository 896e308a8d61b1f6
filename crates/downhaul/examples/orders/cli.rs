//! The command line.

use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use downhaul::LogFormat;
use downhaul::config::{AppConfig, ConfigError};

/// Takes orders over HTTP and settles them over a queue.
#[derive(Debug, Parser)]
#[command(name = "orders", version)]
pub(crate) struct Cli {
    /// Where to serve orders, in place of ORDERS_HTTP_ADDRESS.
    #[arg(long)]
    listen: Option<String>,

    /// Where to serve health probes and control of the components, in place of
    /// ORDERS_CONTROL_ADDRESS. ORDERS_CONTROL_TOKEN sets a token.
    #[arg(long)]
    control: Option<String>,

    /// The broker: `memory:`, `amqp://user:password@host:port/vhost` or, with feature `kafka`,
    /// `kafka://host:port?property=value`.
    #[arg(long, default_value = "memory:")]
    pub(crate) broker: BrokerUrl,

    /// How much there is of each product at the start.
    #[arg(long, default_value_t = 1000)]
    pub(crate) stock: u32,

    /// How long stopping may take, such as `30s`, in place of ORDERS_GRACE.
    #[arg(long)]
    grace: Option<humantime::Duration>,

    /// How many milliseconds reserving takes.
    #[arg(long, default_value_t = 0)]
    work_ms: u64,

    /// Prints how the service starts and stops, and the grace that its orchestrator must give it,
    /// instead of running it.
    #[arg(long)]
    pub(crate) plan: bool,

    /// Prints the settings, where each comes from and its variable, instead of running.
    #[arg(long)]
    pub(crate) config: bool,

    /// How log lines look, in place of ORDERS_LOG.
    #[arg(long, value_enum)]
    log: Option<Log>,
}

/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(5);

impl Cli {
    pub(crate) fn work(&self) -> Duration {
        Duration::from_millis(self.work_ms)
    }

    /// The settings: our defaults, over them the environment, over that the command line.
    pub(crate) fn settings(&self) -> Result<AppConfig, ConfigError> {
        let mut ours = AppConfig::default();
        ours.control.address = Some("127.0.0.1:9090".to_owned());
        ours.http.timeout = DEADLINE;
        ours.start_within = self.broker.time_to_start();
        let mut settings = ours.env("ORDERS_")?;
        if let Some(address) = &self.listen {
            settings.http.address.clone_from(address);
        }
        if self.control.is_some() {
            settings.control.address.clone_from(&self.control);
        }
        if let Some(grace) = self.grace {
            settings.grace = grace.into();
        }
        if let Some(log) = self.log {
            settings.log = log.into();
        }
        Ok(settings)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum BrokerUrl {
    Memory,
    Amqp(String),
    Kafka(String),
}

impl BrokerUrl {
    /// How long a consumer may take to start. A group of Kafka lets nobody in while a member that
    /// has crashed is still counted, which is for 45 s.
    pub(crate) fn time_to_start(&self) -> Duration {
        match self {
            Self::Memory | Self::Amqp(_) => Duration::from_secs(10),
            Self::Kafka(_) => Duration::from_secs(60),
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("memory", _)) => Ok(Self::Memory),
            Some(("amqp" | "amqps", _)) => Ok(Self::Amqp(text.to_owned())),
            Some(("kafka", _)) => Ok(Self::Kafka(text.to_owned())),
            _ => {
                Err("want `memory:`, `amqp://user:password@host:port/vhost` or `kafka://host:port`")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Log {
    Text,
    Json,
}

impl From<Log> for LogFormat {
    fn from(log: Log) -> Self {
        match log {
            Log::Text => Self::Text,
            Log::Json => Self::Json,
        }
    }
}
