//! Apache Kafka itself, from a distribution that somebody has unpacked.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::broker::run;
use super::setup::Locks;
use super::site::Site;
use crate::error::NodeError;
use crate::ports::free;

/// The folder of the distribution.
const HOME: &str = "DOWNHAUL_APACHE_KAFKA";
/// What `kafka-storage.sh random-uuid` would make. It tells clusters apart, and this is one alone.
const CLUSTER: &str = "ZG93bmhhdWwtdGVzdHMuLg";
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
/// One node, so one replica of everything; and groups that begin at once and expire soon.
const ALONE: &str = "\
process.roles=broker,controller
node.id=1
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
";

/// Where the program is that starts a broker.
pub(super) fn program() -> PathBuf {
    let home = std::env::var_os(HOME).map(PathBuf::from).unwrap_or_default();
    home.join("bin/kafka-server-start.sh")
}

pub(super) fn missing() -> String {
    format!("no Apache Kafka: unpack one, 3.5 or newer, and set {HOME} to its folder")
}

/// The distribution's scripts look beside themselves for others, so a link to one does not do.
pub(super) fn install(program: &Path, at: &Path) -> io::Result<()> {
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display());
    let mut file = fs::File::options().create_new(true).write(true).mode(0o700).open(at)?;
    file.write_all(script.as_bytes())
}

/// Java on IPv4, as `/proc/net/tcp` tells it, with as little memory as a test needs, and with the
/// first of its compilers alone: a broker of a test lives too shortly for the others.
pub(super) fn environment(command: &mut Command, dir: &Path) {
    let java = std::env::var_os("JAVA_HOME").map(|home| ("JAVA_HOME", home));
    command.envs(java).env("LOG_DIR", dir.join("log"));
    command.env("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1");
    command.env("KAFKA_HEAP_OPTS", "-Xmx512m -Xms64m");
    command.env("KAFKA_OPTS", "-Djava.net.preferIPv4Stack=true");
}

/// Where a broker reads how it is set up.
pub(super) fn properties(dir: &Path) -> PathBuf {
    dir.join("server.properties")
}

/// Writes the properties, and formats the disk with the users that there are.
pub(super) fn format(site: &Site, locks: &Locks) -> Result<(), NodeError> {
    let cannot = |e| NodeError::io(format!("cannot lay out {}", site.dir.display()), e);
    write(site, locks).map_err(cannot)?;
    let program = program().with_file_name("kafka-storage.sh");
    let mut command = Command::new(program);
    site.environment(&mut command).args(["format", "--cluster-id", CLUSTER, "--config"]);
    command.arg(properties(&site.dir));
    if let Some([user, password]) = &locks.user {
        for mechanism in SCRAM {
            command.arg("--add-scram");
            command.arg(format!("{mechanism}=[name={user},password={password}]"));
        }
    }
    run(&mut command, "format a disk for Kafka")
}

fn write(site: &Site, locks: &Locks) -> io::Result<()> {
    let Site { dir, port, advertised, .. } = site;
    let [controller, internal] = free()?;
    let protocol = match (&locks.user, &locks.tls) {
        (None, None) => "PLAINTEXT",
        (None, Some(_)) => "SSL",
        (Some(_), None) => "SASL_PLAINTEXT",
        (Some(_), Some(_)) => "SASL_SSL",
    };
    let at = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
    let (inside, chief) = (at("INTERNAL", internal), at("CONTROLLER", controller));
    let mut text = ALONE.to_owned();
    let mut set = |name: &str, value: &str| text += &format!("{name}={value}\n");
    set("listeners", &[at("CLIENT", *port), inside.clone(), chief].join(","));
    set("advertised.listeners", &[at("CLIENT", *advertised), inside].join(","));
    let plain = "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT";
    set("listener.security.protocol.map", &format!("CLIENT:{protocol},{plain}"));
    set("controller.quorum.voters", &format!("1@127.0.0.1:{controller}"));
    set("log.dirs", &dir.join("data").display().to_string());
    set("sasl.enabled.mechanisms", &SCRAM.join(","));
    for mechanism in SCRAM.map(str::to_lowercase) {
        let name = format!("listener.name.client.{mechanism}.sasl.jaas.config");
        set(&name, "org.apache.kafka.common.security.scram.ScramLoginModule required;");
    }
    if let Some([certificates, key]) = &locks.tls {
        let keystore = dir.join("keystore.pem");
        fs::write(&keystore, [fs::read(key)?, fs::read(certificates)?].concat())?;
        set("listener.name.client.ssl.keystore.type", "PEM");
        set("listener.name.client.ssl.keystore.location", &keystore.display().to_string());
    }
    fs::write(properties(dir), text)
}
