//! The command line.

use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use downhaul::{Control, LogFormat};

/// Takes orders over HTTP and settles them over a queue.
#[derive(Debug, Parser)]
#[command(name = "orders", version)]
pub(crate) struct Cli {
    /// Where to serve orders.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,

    /// Where to serve health probes and control of the consumers. ORDERS_CONTROL_TOKEN sets a
    /// token.
    #[arg(long, default_value = "127.0.0.1:9090")]
    control: String,

    /// The broker: `memory:`, `amqp://user:password@host:port/vhost` or, with feature `kafka`,
    /// `kafka://host:port?property=value`.
    #[arg(long, default_value = "memory:")]
    pub(crate) broker: BrokerUrl,

    /// How much there is of each product at the start.
    #[arg(long, default_value_t = 1000)]
    pub(crate) stock: u32,

    /// How long stopping may take, such as `30s`.
    #[arg(long, default_value = "30s")]
    pub(crate) grace: humantime::Duration,

    /// How many milliseconds reserving takes.
    #[arg(long, default_value_t = 0)]
    work_ms: u64,

    /// Prints how the service starts and stops, and the grace that its orchestrator must give it,
    /// instead of running it.
    #[arg(long)]
    pub(crate) plan: bool,

    /// How log lines look.
    #[arg(long, value_enum, default_value_t = Log::Text)]
    pub(crate) log: Log,
}

impl Cli {
    pub(crate) fn work(&self) -> Duration {
        Duration::from_millis(self.work_ms)
    }

    pub(crate) fn control(&self) -> Control {
        let control = Control::new(&self.control);
        match std::env::var("ORDERS_CONTROL_TOKEN") {
            Ok(token) => control.token(token),
            Err(_) => control,
        }
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
