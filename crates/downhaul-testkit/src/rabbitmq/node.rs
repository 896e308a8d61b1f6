//! `Node`: a private RabbitMQ node that lives no longer than its handle.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use super::detached::Detached;
use super::installation;
use super::shared;
use super::site::Site;
use crate::error::{NodeError, NodeErrorKind};
use crate::poll::poll;
use crate::ports::connect;
use crate::process::{self, Server, Watchdog};
use crate::unique::random;

/// A node that does not stop by itself is killed after this.
const STOP: Duration = Duration::from_secs(20);
/// Other processes take ports too, so a start may need another try.
const TRIES: u32 = 4;

/// A private RabbitMQ node on 127.0.0.1. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Node {
    site: Site,
    /// `None` where the first node of its cluster has it.
    epmd: Option<Child>,
    beam: Child,
    /// Taken only by `detach` and `drop`.
    watchdog: Option<Watchdog>,
}

impl Node {
    /// Starts a node with fresh data in a temporary directory and waits until it answers AMQP.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`](NodeErrorKind::NotInstalled) if this machine has no RabbitMQ,
    /// [`Start`](NodeErrorKind::Start) with the end of its log if it does not come up.
    pub fn start() -> Result<Self, NodeError> {
        Self::start_with("")
    }

    /// The same with further lines for its `rabbitmq.conf`, such as a listener for TLS.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(lines: &str) -> Result<Self, NodeError> {
        Self::start_at(&fresh_dir(), lines, None)
    }

    /// Starts another node, which joins the cluster of this one.
    pub(super) fn start_next(&self, lines: &str) -> Result<Self, NodeError> {
        Self::start_at(&fresh_dir(), lines, Some(&self.site))
    }

    /// The same in a directory of the caller's choice, which must not exist yet.
    pub(super) fn start_in(dir: &Path) -> Result<Self, NodeError> {
        Self::start_at(dir, "", None)
    }

    fn start_at(dir: &Path, lines: &str, first: Option<&Site>) -> Result<Self, NodeError> {
        shared::record_use();
        let home = installation::find()?;
        let epmd = installation::epmd()?;
        let lay_out = |trimmed| {
            let site = Site::create(dir.to_owned(), &home, trimmed, lines, first)?;
            // Under a name inside the site, so that the command line tells whose epmd it is.
            symlink(&epmd, site.dir.join("epmd")).map(|()| site)
        };
        let mut last = NodeError::new(NodeErrorKind::Start, "not tried");
        for turn in 1..=TRIES {
            // The last try does not rely on what we know about RabbitMQ's parts.
            let site = lay_out(turn < TRIES)
                .map_err(|e| NodeError::io(format!("cannot lay out {}", dir.display()), e))?;
            match Self::boot(site, first.is_none()) {
                Ok(node) => return Ok(node),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whatever goes wrong here, the watchdog has taken all of it down when this returns.
    fn boot(site: Site, with_epmd: bool) -> Result<Self, NodeError> {
        let dog = Watchdog::watch(&site.dir).map_err(|e| NodeError::io("cannot run `sh`", e))?;
        match boot_servers(&site, with_epmd) {
            Ok((epmd, beam)) => Ok(Self { site, epmd, beam, watchdog: Some(dog) }),
            Err(error) => {
                dog.finish();
                Err(error)
            }
        }
    }

    /// Where the node answers, with its default user and its default vhost.
    pub fn url(&self) -> String {
        self.site.url()
    }

    /// The port of [`url`](Self::url), for proxies and probes.
    pub fn port(&self) -> u16 {
        self.site.ports.amqp
    }

    /// What Erlang calls the node.
    pub fn name(&self) -> String {
        self.site.node_name()
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.beam.id()
    }

    /// Kills the server as a power cut would (SIGKILL). Its data stay.
    pub fn kill(&mut self) {
        beam(&self.site).kill(&mut self.beam);
    }

    /// Asks the server to stop (SIGTERM) and waits for it. Its data stay.
    pub fn stop(&mut self) {
        if matches!(self.beam.try_wait(), Ok(None)) {
            let _ = process::signal(&self.beam, "TERM");
            let _ = poll(STOP, || self.beam.try_wait().ok().flatten());
        }
        self.kill();
    }

    /// Freezes the server (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        let _ = process::signal(&self.beam, "STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        let _ = process::signal(&self.beam, "CONT");
    }

    /// Starts the server again on the same data and the same ports, killing it first if it runs.
    ///
    /// # Errors
    ///
    /// [`Start`](NodeErrorKind::Start) with the end of its log if it does not come up.
    pub fn restart(&mut self) -> Result<(), NodeError> {
        self.kill();
        if let Some(epmd) = &mut self.epmd
            && !matches!(epmd.try_wait(), Ok(None))
        {
            *epmd = start_epmd(&self.site)?;
        }
        self.beam = start_beam(&self.site)?;
        Ok(())
    }

    /// Runs `rabbitmqctl` on this node and returns what it printed. A call takes half a second.
    ///
    /// # Errors
    ///
    /// [`Ctl`](NodeErrorKind::Ctl) with its output if it fails.
    pub fn ctl(&self, args: &[&str]) -> Result<String, NodeError> {
        ctl(&self.site, args)
    }

    /// Lets the node outlive this process. [`Detached`] finds it again.
    pub(super) fn detach(mut self) -> Detached {
        if let Some(dog) = self.watchdog.take() {
            dog.call_off();
        }
        Detached::new(Site {
            dir: std::mem::take(&mut self.site.dir),
            name: std::mem::take(&mut self.site.name),
            ports: self.site.ports,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(dog) = self.watchdog.take() else { return };
        self.kill();
        if let Some(child) = &mut self.epmd {
            epmd(&self.site).kill(child);
        }
        dog.finish();
    }
}

fn beam(site: &Site) -> Server<'_> {
    Server { dir: &site.dir, pid_file: "beam.pid", program: "home/sbin/rabbitmq-server" }
}

fn epmd(site: &Site) -> Server<'_> {
    Server { dir: &site.dir, pid_file: "epmd.pid", program: "epmd" }
}

fn fresh_dir() -> PathBuf {
    std::env::temp_dir().join(format!("downhaul-{:016x}", random()))
}

fn boot_servers(site: &Site, with_epmd: bool) -> Result<(Option<Child>, Child), NodeError> {
    let mut epmd = with_epmd.then(|| start_epmd(site)).transpose()?;
    let beam = start_beam(site).inspect_err(|_| {
        if let Some(epmd) = &mut epmd {
            self::epmd(site).kill(epmd);
        }
    })?;
    Ok((epmd, beam))
}

/// Without an epmd of ours the server would start one itself, which would outlive everything.
fn start_epmd(site: &Site) -> Result<Child, NodeError> {
    let port = site.ports.epmd.to_string();
    let settle = |command: &mut Command| {
        site.environment(command.args(["-port", &port, "-address", "127.0.0.1"]));
    };
    epmd(site).start(settle, |_| connect(site.ports.epmd).is_some())
}

fn start_beam(site: &Site) -> Result<Child, NodeError> {
    let settle = |command: &mut Command| {
        site.environment(command.arg("-noinput"));
    };
    beam(site).start(settle, |_| answers_amqp(site))
}

/// Whether the node answers the AMQP handshake, and not another one that was faster at its port:
/// `connection.start` carries the cluster's name, which begins with the node's.
pub(super) fn answers_amqp(site: &Site) -> bool {
    let Some(mut stream) = connect(site.ports.amqp) else { return false };
    let name = format!("{}@", site.name);
    let mut heard = Vec::new();
    let mut chunk = [0; 1024];
    let asked = stream.write_all(b"AMQP\0\0\x09\x01").is_ok();
    while asked && heard.len() < 8 * chunk.len() {
        match stream.read(&mut chunk) {
            Ok(n @ 1..) => heard.extend_from_slice(&chunk[..n]),
            _ => break,
        }
        if heard.windows(name.len()).any(|window| window == name.as_bytes()) {
            return true;
        }
    }
    false
}

pub(super) fn ctl(site: &Site, args: &[&str]) -> Result<String, NodeError> {
    let program: PathBuf = site.dir.join("home/sbin/rabbitmqctl");
    let mut command = Command::new(program);
    let output = site
        .environment(command.arg("--quiet").args(args))
        .output()
        .map_err(|e| NodeError::io("cannot run rabbitmqctl", e))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let text = format!("rabbitmqctl {}: {text}{complaint}", args.join(" "));
    Err(NodeError::new(NodeErrorKind::Ctl, text))
}
