//! `cargo xtask chaos`: everything that happens to a broker and its clients, for as long as you
//! like.

use clap::{Args, value_parser};

use crate::failure::Failure;
use crate::kind::Kind;
use crate::run::cargo;
use crate::tally::Tally;
use crate::{broker, kafka};

/// Runs the faults of a broker's tests for longer than the one round that they take among others.
///
/// A private broker is killed, frozen and starved, its links break in every way, and consumers
/// pause, begin anew, come and go, while messages go through it; what cannot be done to it is
/// printed. In the end an oracle says of each message what became of it. Prints the seed that it
/// begins with and, in the end, a table.
#[derive(Args)]
pub(crate) struct Chaos {
    broker: Kind,
    /// How long. The last round is finished.
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    minutes: u64,
    /// Which faults come, and in which order, follows from it; another one each time without it.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

impl Chaos {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let package = match self.broker {
            Kind::Rabbitmq => {
                broker::ensure_rabbitmq()?;
                "downhaul-rabbitmq"
            }
            Kind::Kafka => {
                kafka::ensure_client()?;
                kafka::ensure_one(kafka::chosen(false)?)?;
                "downhaul-kafka"
            }
        };
        let scope = ["test", "--package", package, "--test", "faults", "--all-features"];
        let mut faults = cargo(&scope);
        faults.args(["--locked", "--", "whatever_happens", "--nocapture"]);
        faults.env("DOWNHAUL_FAULTS_MINUTES", self.minutes.to_string());
        if let Some(seed) = self.seed {
            faults.env("DOWNHAUL_FAULTS_SEED", seed.to_string());
        }
        Tally::proof("chaos", &mut faults).map(drop)
    }
}
