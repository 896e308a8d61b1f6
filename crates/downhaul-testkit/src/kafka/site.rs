//! `Site`: the directory of a broker and all that is written there.
//!
//! `site` names the kind and its port, `broker.pid` the process, `broker` the program; `log` has
//! what it prints, and the rest is its data.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apache;
use super::kind::Kind;
use crate::process::Server;

/// A broker's place on the disk. It says nothing about whether the broker runs.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) dir: PathBuf,
    pub(super) kind: Kind,
    pub(super) port: u16,
    /// Where clients are told to connect, once they have asked.
    pub(super) advertised: u16,
}

impl Site {
    /// Lays out a fresh site at `dir`, which must not exist yet, for the program at `program`.
    pub(super) fn create(self, program: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&self.dir)?;
        for folder in ["data", "log"] {
            fs::create_dir(self.dir.join(folder))?;
        }
        // Under a name inside the site, so that the command line tells whose process it is.
        let broker = self.dir.join("broker");
        match self.kind {
            Kind::Apache => apache::install(program, &broker)?,
            _ => symlink(program, broker)?,
        }
        let Self { dir, kind, port, advertised } = &self;
        fs::write(dir.join("site"), format!("{kind} {port} {advertised}\n"))?;
        Ok(self)
    }

    /// The site that `create` made at `dir`, if there is one.
    pub(super) fn open(dir: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(dir.join("site")).ok()?;
        let mut words = text.split_whitespace();
        let kind = Kind::named(words.next()?)?;
        let mut port = || words.next()?.parse().ok();
        Some(Self { dir, kind, port: port()?, advertised: port()? })
    }

    /// What clients are given to begin with. A proxy, where one is advertised, is in front of this,
    /// too.
    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.advertised)
    }

    pub(super) fn server(&self) -> Server<'_> {
        Server { dir: &self.dir, pid_file: "broker.pid", program: "broker" }
    }

    /// `command` with none of the caller's settings, some of which are meant for other brokers.
    pub(super) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.current_dir(&self.dir).env_clear().env("PATH", path).env("HOME", &self.dir);
        if self.kind == Kind::Apache {
            apache::environment(command, &self.dir);
        }
        command
    }
}
