//! pika, from PyPI: a client of RabbitMQ in another language, for the tests that meet it.

use std::fs;

use downhaul_testkit::rabbitmq::Pika;

use crate::failure::Failure;
use crate::run::run;
use crate::tools;

/// Of the wheel, which is for every Python. pip takes no other.
const SHA256: &str = "48de960c97a93b55db06b8be4c53eb977c9c8a2754c57cdae9097abcbd70ce04";

/// Installs pika unless it is there. Without Python or PyPI it says so, and its tests are skipped.
pub(crate) fn ensure() {
    if let Err(failure) = try_to_ensure() {
        eprintln!("no pika, so its tests are skipped: {failure}");
    }
}

fn try_to_ensure() -> Result<(), Failure> {
    let home = Pika::home();
    let tools = home.parent().unwrap_or(&home);
    let _lock = tools::lock(tools, "pika")?;
    if Pika::find().is_some() {
        return Ok(());
    }
    let version = Pika::VERSION;
    eprintln!("installing pika {version} into {}", home.display());
    let mut pip = tools::pip_install(&home)?;
    let requirements = home.join("requirements.txt");
    fs::write(&requirements, format!("pika=={version} --hash=sha256:{SHA256}\n"))?;
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement"]);
    run(pip.arg(&requirements))
}
