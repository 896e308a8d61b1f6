//! `Site`: the directory of a node and all that is written there.
//!
//! `site` names the node and its ports, `beam.pid` and `epmd.pid` its processes, `home` the
//! trimmed RabbitMQ; the rest is the server's.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::installation;
use super::ports::{CTL_PORTS, Ports};
use crate::unique::random;

/// A node's place on the disk. It says nothing about whether the node runs.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) ports: Ports,
}

impl Site {
    /// Lays out a fresh site at `dir`, which must not exist yet, for the RabbitMQ at `original`.
    /// Its `rabbitmq.conf` ends with `lines`. With `first`, its node joins the cluster of that.
    pub(super) fn create(
        dir: PathBuf,
        original: &Path,
        trimmed: bool,
        lines: &str,
        first: Option<&Self>,
    ) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&dir)?;
        let name = format!("downhaul-{:016x}", random());
        let mut site = Self { dir, name, ports: Ports::free()? };
        site.ports.epmd = first.map_or(site.ports.epmd, |first| first.ports.epmd);
        for folder in ["config", "log", "mnesia"] {
            fs::create_dir(site.dir.join(folder))?;
        }
        installation::prepare(original, &site.dir.join("home"), trimmed)?;
        site.write_configuration(lines, first)?;
        let Ports { amqp, distribution, epmd, ctl } = site.ports;
        let lines = format!("{} {amqp} {distribution} {epmd} {ctl}\n", site.name);
        fs::write(site.dir.join("site"), lines)?;
        Ok(site)
    }

    /// The site that `create` made at `dir`, if there is one.
    pub(super) fn open(dir: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(dir.join("site")).ok()?;
        let mut words = text.split_whitespace();
        let name = words.next()?.to_owned();
        let mut port = || words.next()?.parse().ok();
        let ports = Ports { amqp: port()?, distribution: port()?, epmd: port()?, ctl: port()? };
        Some(Self { dir, name, ports })
    }

    fn write_configuration(&self, lines: &str, first: Option<&Self>) -> io::Result<()> {
        let cookie = self.dir.join(".erlang.cookie");
        let (secret, joins) = match first {
            Some(first) => (fs::read_to_string(first.dir.join(".erlang.cookie"))?, first.joins()),
            None => (format!("{:016x}{:016x}", random(), random()), String::new()),
        };
        fs::write(&cookie, secret)?;
        fs::set_permissions(&cookie, Permissions::from_mode(0o400))?;
        fs::write(self.dir.join("enabled_plugins"), "[].\n")?;
        let configuration = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlog.console = false\nlog.file.level = info\n\
             disk_free_limit.absolute = 50MB\n{joins}{lines}\n",
            self.ports.amqp
        );
        fs::write(self.dir.join("rabbitmq.conf"), configuration)
    }

    /// What makes another node join this one.
    fn joins(&self) -> String {
        format!(
            "cluster_formation.peer_discovery_backend = classic_config\n\
             cluster_formation.classic_config.nodes.1 = {}\n",
            self.node_name()
        )
    }

    /// What Erlang calls the node.
    pub(super) fn node_name(&self) -> String {
        format!("{}@localhost", self.name)
    }

    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// `command` with an environment in which this node is the only one there is.
    pub(super) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        let Ports { amqp, distribution, epmd, ctl } = self.ports;
        for (variable, name) in PATHS {
            command.env(variable, self.dir.join(name));
        }
        command
            .env("RABBITMQ_NODENAME", self.node_name())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            // Else the system's own settings are read.
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback)
            // A command for a node that is gone must not leave an epmd of its own behind.
            .env("RABBITMQ_CTL_ERL_ARGS", format!("-start_epmd false {loopback}"))
            .env("RABBITMQ_CTL_DIST_PORT_MIN", ctl.to_string())
            .env("RABBITMQ_CTL_DIST_PORT_MAX", (ctl + CTL_PORTS).to_string())
            // The script then becomes the server: its pid is the server's.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("LANG", "C.UTF-8")
            // Settings of the caller for another node.
            .env_remove("RABBITMQ_HOME")
            .env_remove("RABBITMQ_USE_LONGNAME")
            .env_remove("ERL_FLAGS")
    }
}

const PATHS: [(&str, &str); 12] = [
    ("HOME", ""),
    ("ERL_CRASH_DUMP", "log/erl_crash.dump"),
    ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
    ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
    ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
    ("RABBITMQ_FEATURE_FLAGS_FILE", "feature_flags"),
    ("RABBITMQ_GENERATED_CONFIG_DIR", "config"),
    ("RABBITMQ_LOGS", "log/node.log"),
    ("RABBITMQ_LOG_BASE", "log"),
    ("RABBITMQ_MNESIA_BASE", "mnesia"),
    ("RABBITMQ_PID_FILE", "node.pid"),
    ("RABBITMQ_PLUGINS_EXPAND_DIR", "expand"),
];
