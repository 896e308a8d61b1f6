//! `cargo xtask broker`: a real broker to try things on, without touching the system's own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use downhaul_testkit::rabbitmq::{self, Detached};

use crate::apt;
use crate::failure::Failure;
use crate::run::root;

/// Starts and stops private brokers on 127.0.0.1 for programs and manual tests.
#[derive(Args)]
pub(crate) struct Broker {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Starts the broker unless it runs, installs it if need be, and prints its URL alone.
    Up(Which),
    /// Kills the broker and removes its data.
    Down(Which),
    /// Prints the broker's URL if it answers, else fails.
    Status(Which),
}

#[derive(Args)]
struct Which {
    broker: Kind,
    /// Brokers of different names run side by side.
    #[arg(long, default_value = "main", value_parser = simple_name)]
    name: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// A RabbitMQ node, from the system's package `rabbitmq-server`.
    Rabbitmq,
}

impl Broker {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::Up(which) => up(which),
            Action::Down(which) => down(which),
            Action::Status(which) => status(which),
        }
    }
}

/// Installs RabbitMQ unless it is there.
pub(crate) fn ensure_rabbitmq() -> Result<(), Failure> {
    if rabbitmq::is_installed() { Ok(()) } else { apt::install(&["rabbitmq-server"]) }
}

fn up(which: &Which) -> Result<(), Failure> {
    let Kind::Rabbitmq = which.broker;
    ensure_rabbitmq()?;
    let node = Detached::up(&which.dir())?;
    eprintln!("rabbitmq `{}` runs in {}", which.name, which.dir().display());
    println!("{}", node.url());
    Ok(())
}

fn down(which: &Which) -> Result<(), Failure> {
    match Detached::open(&which.dir()) {
        Some(node) => {
            node.down()?;
            eprintln!("rabbitmq `{}` is down, its data are gone", which.name);
        }
        None => eprintln!("rabbitmq `{}` was not up", which.name),
    }
    Ok(())
}

fn status(which: &Which) -> Result<(), Failure> {
    match Detached::open(&which.dir()) {
        Some(node) if node.is_up() => {
            eprintln!("rabbitmq `{}` runs in {}", which.name, which.dir().display());
            println!("{}", node.url());
            Ok(())
        }
        Some(_) => Err(Failure::new(format!("rabbitmq `{}` does not answer", which.name))),
        None => Err(Failure::new(format!("rabbitmq `{}` is not up", which.name))),
    }
}

impl Which {
    /// Outside of `target`, which `cargo clean` would pull from under a running broker. Each
    /// checkout has its own.
    fn dir(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        root().hash(&mut hasher);
        let name = format!("downhaul-broker-{:08x}-{}", hasher.finish() as u32, self.name);
        std::env::temp_dir().join(name)
    }
}

/// The name becomes a part of a path.
fn simple_name(name: &str) -> Result<String, String> {
    let simple = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !name.is_empty() && name.chars().all(simple) {
        true => Ok(name.to_owned()),
        false => Err("letters, digits and `-` only".to_owned()),
    }
}
