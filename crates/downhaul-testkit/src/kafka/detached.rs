//! `Detached`: a broker that outlives the process that started it, for `cargo xtask broker`.

use std::path::{Path, PathBuf};

use super::answer;
use super::kind::Kind;
use super::setup::Setup;
use super::site::Site;
use crate::error::NodeError;
use crate::process;

/// A broker that runs until [`down`](Self::down). Its directory is all there is to know about it.
#[derive(Debug)]
pub struct Detached {
    site: Site,
}

impl Detached {
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    /// Starts a broker in `dir`, or finds the one that already runs there, whatever its kind.
    ///
    /// # Errors
    ///
    /// As [`Setup::start`].
    pub fn up(dir: &Path, kind: Kind) -> Result<Self, NodeError> {
        if let Some(running) = Self::open(dir).filter(Self::is_up) {
            return Ok(running);
        }
        // What a crash or a reboot left there.
        remove(dir)?;
        Ok(Setup::new(kind).start_in(dir, |port| port)?.detach())
    }

    /// The broker that was started in `dir`, whether it still answers or not.
    pub fn open(dir: &Path) -> Option<Self> {
        Site::open(PathBuf::from(dir)).map(Self::new)
    }

    /// Where clients begin: `127.0.0.1:port`.
    pub fn bootstrap(&self) -> String {
        self.site.bootstrap()
    }

    /// The kind of this broker.
    pub fn kind(&self) -> Kind {
        self.site.kind
    }

    /// Whether the broker answers now.
    pub fn is_up(&self) -> bool {
        let pid = std::fs::read_to_string(self.site.dir.join("broker.pid")).unwrap_or_default();
        let listens = |pid| answer::listens(pid, self.site.port);
        pid.trim().parse().is_ok_and(listens) && answer::answers(self.site.port)
    }

    /// Kills the broker and removes its data.
    ///
    /// # Errors
    ///
    /// [`Io`](super::NodeErrorKind::Io) if no shell can be started.
    pub fn down(self) -> Result<(), NodeError> {
        remove(&self.site.dir)
    }
}

fn remove(dir: &Path) -> Result<(), NodeError> {
    process::take_down(dir).map_err(|e| NodeError::io("cannot run `sh`", e))
}
