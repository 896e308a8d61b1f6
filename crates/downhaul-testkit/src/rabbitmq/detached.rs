//! `Detached`: a node that outlives the process that started it, for `cargo xtask broker`.

use std::path::{Path, PathBuf};

use super::node::{self, Node};
use super::site::Site;
use crate::error::NodeError;
use crate::process;

/// A node that runs until [`down`](Self::down). Its directory is all there is to know about it.
#[derive(Debug)]
pub struct Detached {
    site: Site,
}

impl Detached {
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    /// Starts a node in `dir`, or finds the one that already runs there.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn up(dir: &Path) -> Result<Self, NodeError> {
        if let Some(running) = Self::open(dir).filter(Self::is_up) {
            return Ok(running);
        }
        // What a crash or a reboot left there.
        remove(dir)?;
        Ok(Node::start_in(dir)?.detach())
    }

    /// The node that was started in `dir`, whether it still answers or not.
    pub fn open(dir: &Path) -> Option<Self> {
        Site::open(PathBuf::from(dir)).map(Self::new)
    }

    /// Where the node answers.
    pub fn url(&self) -> String {
        self.site.url()
    }

    /// Whether the node answers now.
    pub fn is_up(&self) -> bool {
        node::answers_amqp(&self.site)
    }

    /// Runs `rabbitmqctl` on this node, as [`Node::ctl`] does.
    ///
    /// # Errors
    ///
    /// As [`Node::ctl`].
    pub fn ctl(&self, args: &[&str]) -> Result<String, NodeError> {
        node::ctl(&self.site, args)
    }

    /// Kills the node and removes its data.
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
