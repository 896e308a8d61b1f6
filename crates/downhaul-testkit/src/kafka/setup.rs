//! `Setup`: what a broker is before it starts.

use std::path::{Path, PathBuf};

use super::broker::Broker;
use super::gap::Gap;
use super::kind::Kind;
use crate::error::{NodeError, NodeErrorKind};
use crate::unique::random;

/// A broker that has not been started yet.
///
/// # Examples
///
/// With a proxy in front, so that its links can be broken: clients connect to the address that the
/// broker advertises.
///
#[cfg_attr(feature = "suite", doc = "```no_run")]
#[cfg_attr(not(feature = "suite"), doc = "```ignore")]
/// use downhaul_testkit::kafka::{Kind, Setup};
/// use downhaul_testkit::proxy::{Cut, Proxy};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut proxy = None;
/// let broker = Setup::new(Kind::Tansu)
///     .start_behind(|port| {
///         let door = Proxy::start(([127, 0, 0, 1], port).into()).expect("a proxy");
///         proxy.insert(door).address().port()
///     })
///     .expect("a broker");
/// let proxy = proxy.expect("it has been asked for");
/// assert_eq!(broker.bootstrap(), proxy.address().to_string());
/// proxy.cut(Cut::Reset);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) kind: Kind,
    pub(super) locks: Locks,
}

/// What a client has to bring.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks {
    pub(super) user: Option<[String; 2]>,
    pub(super) tls: Option<[PathBuf; 2]>,
}

impl Setup {
    /// A broker that lets everybody in.
    pub fn new(kind: Kind) -> Self {
        Self { kind, locks: Locks::default() }
    }

    /// Lets in only who logs in by SASL, SCRAM-SHA-256 or SCRAM-SHA-512, as `user` with `password`.
    #[must_use]
    pub fn sasl(mut self, user: &str, password: &str) -> Self {
        self.locks.user = Some([user, password].map(str::to_owned));
        self
    }

    /// Speaks TLS alone, with a chain of certificates and the key of the first, both in PEM.
    #[must_use]
    pub fn tls(mut self, certificates: &Path, key: &Path) -> Self {
        self.locks.tls = Some([certificates, key].map(Path::to_path_buf));
        self
    }

    /// Starts the broker with fresh data in a temporary directory and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`](NodeErrorKind::NotInstalled) if this machine does not have this kind,
    /// [`Unsupported`](NodeErrorKind::Unsupported) if the kind cannot do what is asked,
    /// [`Start`](NodeErrorKind::Start) with the end of its log if it does not come up.
    pub fn start(self) -> Result<Broker, NodeError> {
        self.start_in(&temporary(), |port| port)
    }

    /// The same with something in front: `door` is given the port that the broker will listen on,
    /// and returns the one that it advertises to clients. It is called again if the broker's port
    /// was taken meanwhile.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_behind(self, door: impl FnMut(u16) -> u16) -> Result<Broker, NodeError> {
        self.require(Gap::Proxy)?;
        self.start_in(&temporary(), door)
    }

    pub(super) fn start_in(
        self,
        dir: &Path,
        door: impl FnMut(u16) -> u16,
    ) -> Result<Broker, NodeError> {
        if self.locks.user.is_some() {
            self.require(Gap::Authentication)?;
        }
        if self.locks.tls.is_some() {
            self.require(Gap::Encryption)?;
        }
        Broker::start_in(&self, dir, door)
    }

    fn require(&self, gap: Gap) -> Result<(), NodeError> {
        match self.kind.lacks(gap) {
            false => Ok(()),
            true => {
                let text = format!("{} {gap}", self.kind);
                Err(NodeError::new(NodeErrorKind::Unsupported, text))
            }
        }
    }
}

fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("downhaul-kafka-{:016x}", random()))
}
