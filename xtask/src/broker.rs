//! `cargo xtask broker`: a real broker to try things on, without touching the system's own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use downhaul_testkit::{kafka, rabbitmq};

use crate::failure::Failure;
use crate::kind::Kind;
use crate::run::root;
use crate::{apt, kafka as programs};

/// Starts and stops private brokers on 127.0.0.1 for programs and manual tests.
#[derive(Args)]
pub(crate) struct Broker {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Starts the broker unless it runs, installs it if need be, and prints its URL alone.
    Up(Up),
    /// Kills the broker and removes its data.
    Down(Which),
    /// Prints the broker's URL if it answers, else fails.
    Status(Which),
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    which: Which,
    /// A broker of Kafka's protocol that loses nothing when it is killed: nisshi, which takes a
    /// quarter of an hour to build, once.
    #[arg(long)]
    durable: bool,
}

#[derive(Args)]
struct Which {
    broker: Kind,
    /// Brokers of different names run side by side.
    #[arg(long, default_value = "main", value_parser = simple_name)]
    name: String,
}

/// A broker that was started, whether it still runs or not.
enum Detached {
    Rabbitmq(rabbitmq::Detached),
    Kafka(kafka::Detached),
}

impl Broker {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::Up(up) => up.run(),
            Action::Down(which) => down(which),
            Action::Status(which) => status(which),
        }
    }
}

/// Installs RabbitMQ unless it is there.
pub(crate) fn ensure_rabbitmq() -> Result<(), Failure> {
    if rabbitmq::is_installed() { Ok(()) } else { apt::install(&["rabbitmq-server"]) }
}

impl Up {
    fn run(&self) -> Result<(), Failure> {
        let which = &self.which;
        let broker = match which.broker {
            Kind::Rabbitmq => {
                ensure_rabbitmq()?;
                Detached::Rabbitmq(rabbitmq::Detached::up(&which.dir())?)
            }
            Kind::Kafka => {
                let kind = programs::chosen(self.durable)?;
                programs::ensure_one(kind)?;
                Detached::Kafka(kafka::Detached::up(&which.dir(), kind)?)
            }
        };
        eprintln!("{} `{}` runs in {}", broker.program(), which.name, which.dir().display());
        println!("{}", broker.url());
        Ok(())
    }
}

fn down(which: &Which) -> Result<(), Failure> {
    match which.open() {
        Some(broker) => {
            let program = broker.program();
            broker.down()?;
            eprintln!("{program} `{}` is down, its data are gone", which.name);
        }
        None => eprintln!("{} `{}` was not up", which.broker.word(), which.name),
    }
    Ok(())
}

fn status(which: &Which) -> Result<(), Failure> {
    match which.open() {
        Some(broker) if broker.is_up() => {
            eprintln!("{} `{}` runs in {}", broker.program(), which.name, which.dir().display());
            println!("{}", broker.url());
            Ok(())
        }
        Some(broker) => {
            Err(Failure::new(format!("{} `{}` does not answer", broker.program(), which.name)))
        }
        None => Err(Failure::new(format!("{} `{}` is not up", which.broker.word(), which.name))),
    }
}

impl Detached {
    fn program(&self) -> &'static str {
        match self {
            Self::Rabbitmq(_) => "rabbitmq",
            Self::Kafka(broker) => broker.kind().name(),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Rabbitmq(node) => node.url(),
            Self::Kafka(broker) => format!("kafka://{}", broker.bootstrap()),
        }
    }

    fn is_up(&self) -> bool {
        match self {
            Self::Rabbitmq(node) => node.is_up(),
            Self::Kafka(broker) => broker.is_up(),
        }
    }

    fn down(self) -> Result<(), Failure> {
        match self {
            Self::Rabbitmq(node) => node.down()?,
            Self::Kafka(broker) => broker.down()?,
        }
        Ok(())
    }
}

impl Which {
    fn open(&self) -> Option<Detached> {
        match self.broker {
            Kind::Rabbitmq => rabbitmq::Detached::open(&self.dir()).map(Detached::Rabbitmq),
            Kind::Kafka => kafka::Detached::open(&self.dir()).map(Detached::Kafka),
        }
    }

    /// Outside of `target`, which `cargo clean` would pull from under a running broker. Each
    /// checkout has its own.
    fn dir(&self) -> PathBuf {
        let (word, checkout) = (self.broker.word(), fingerprint(&root().to_string_lossy()));
        std::env::temp_dir().join(format!("downhaul-{word}-{checkout:08x}-{}", self.name))
    }
}

/// FNV-1a: the same in every build, so that whoever has a newer compiler still finds the broker.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The name becomes a part of a path.
fn simple_name(name: &str) -> Result<String, String> {
    let simple = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !name.is_empty() && name.chars().all(simple) {
        true => Ok(name.to_owned()),
        false => Err("letters, digits and `-` only".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_has_the_same_fingerprint_whatever_built_this() {
        // Of the hash's own test vectors.
        let known = [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)];
        assert_eq!(known.map(|(text, _)| fingerprint(text)), known.map(|(_, hash)| hash));
    }
}
