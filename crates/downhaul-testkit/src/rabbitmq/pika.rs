//! pika, a client of RabbitMQ in another language: where its Python is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::tools;

/// A Python environment with pika, which `cargo xtask test` makes.
///
/// # Examples
///
/// ```
/// use downhaul_testkit::rabbitmq::Pika;
///
/// match Pika::find() {
///     Some(pika) => println!("{} has pika {}", pika.python().display(), Pika::VERSION),
///     None => println!("SKIPPED: no pika"),
/// }
/// ```
#[derive(Debug)]
pub struct Pika {
    python: PathBuf,
}

impl Pika {
    /// The version that is installed.
    pub const VERSION: &'static str = "1.4.4";

    /// Where the environment is, or will be: `tools/pika-…` where cargo builds.
    pub fn home() -> PathBuf {
        tools::folder().join(format!("pika-{}", Self::VERSION))
    }

    /// The environment, if it is there and has pika.
    pub fn find() -> Option<Self> {
        let python = Self::home().join("bin/python3");
        let check = format!("import pika; assert pika.__version__ == '{}'", Self::VERSION);
        let mut command = Command::new(&python);
        command.args(["-c", &check]).stdout(Stdio::null()).stderr(Stdio::null());
        let has_pika = command.status().is_ok_and(|status| status.success());
        has_pika.then_some(Self { python })
    }

    /// The interpreter.
    pub fn python(&self) -> &std::path::Path {
        &self.python
    }
}
