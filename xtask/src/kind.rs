//! [`Kind`]: which broker a command is about.

use clap::ValueEnum;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// A RabbitMQ node, from the system's package `rabbitmq-server`.
    Rabbitmq,
    /// A broker that speaks Kafka's protocol: tansu, or what DOWNHAUL_KAFKA_KIND names.
    Kafka,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Rabbitmq => "rabbitmq",
            Self::Kafka => "kafka",
        }
    }
}
