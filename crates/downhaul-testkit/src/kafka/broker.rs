//! `Broker`: a private broker that lives no longer than its handle.

use std::path::Path;
use std::process::{Child, Command};

use super::answer;
use super::apache;
use super::detached::Detached;
use super::installation;
use super::kind::{Kind, address};
use super::setup::{Locks, Setup};
use super::shared;
use super::site::Site;
use crate::error::{NodeError, NodeErrorKind};
use crate::ports::free;
use crate::process::{self, Watchdog};

/// Other processes take ports too, so a start may need another try.
const TRIES: u32 = 4;

/// A private broker on 127.0.0.1. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Broker {
    site: Site,
    locks: Locks,
    process: Child,
    /// Taken only by `detach` and `drop`.
    watchdog: Option<Watchdog>,
}

impl Broker {
    /// Starts a broker of the [chosen](Kind::chosen) kind with fresh data in a temporary directory
    /// and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Setup::start`].
    pub fn start() -> Result<Self, NodeError> {
        Self::start_with(Kind::chosen())
    }

    /// The same with a kind of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`Setup::start`].
    pub fn start_with(kind: Kind) -> Result<Self, NodeError> {
        Setup::new(kind).start()
    }

    /// The same in a directory of the caller's choice, which must not exist yet.
    pub(super) fn start_in(
        setup: &Setup,
        dir: &Path,
        mut door: impl FnMut(u16) -> u16,
    ) -> Result<Self, NodeError> {
        shared::record_use();
        let kind = setup.kind;
        let program = installation::find(kind)?;
        let mut last = NodeError::new(NodeErrorKind::Start, "not tried");
        for _ in 0..TRIES {
            let cannot = |e| NodeError::io(format!("cannot lay out {}", dir.display()), e);
            let [port] = free().map_err(cannot)?;
            let site = Site { dir: dir.to_owned(), kind, port, advertised: door(port) };
            match Self::boot(site.create(&program).map_err(cannot)?, setup.locks.clone()) {
                Ok(broker) => return Ok(broker),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whatever goes wrong here, the watchdog has taken all of it down when this returns.
    fn boot(site: Site, locks: Locks) -> Result<Self, NodeError> {
        let dog = Watchdog::watch(&site.dir).map_err(|e| NodeError::io("cannot run `sh`", e))?;
        let prepare = if site.kind == Kind::Apache { apache::format } else { make_users };
        match prepare(&site, &locks).and_then(|()| start(&site, &locks)) {
            Ok(process) => Ok(Self { site, locks, process, watchdog: Some(dog) }),
            Err(error) => {
                dog.finish();
                Err(error)
            }
        }
    }

    /// Where clients begin: `127.0.0.1:port`, with the advertised port.
    pub fn bootstrap(&self) -> String {
        self.site.bootstrap()
    }

    /// The port that the broker itself listens on, whatever it advertises.
    pub fn port(&self) -> u16 {
        self.site.port
    }

    /// The kind of this broker.
    pub fn kind(&self) -> Kind {
        self.site.kind
    }

    /// The process id of the broker.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills the broker as a power cut would (SIGKILL). What survives that depends on its
    /// [`Kind`].
    pub fn kill(&mut self) {
        self.site.server().kill(&mut self.process);
    }

    /// Freezes the broker (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        let _ = process::signal(&self.process, "STOP");
    }

    /// Lets a paused broker go on.
    pub fn resume(&self) {
        let _ = process::signal(&self.process, "CONT");
    }

    /// Starts the broker again at the same port and on the same data, killing it first if it runs.
    ///
    /// # Errors
    ///
    /// [`Start`](NodeErrorKind::Start) with the end of its log if it does not come up.
    pub fn restart(&mut self) -> Result<(), NodeError> {
        self.kill();
        self.process = start(&self.site, &self.locks)?;
        Ok(())
    }

    /// Lets the broker outlive this process. [`Detached`] finds it again.
    pub(super) fn detach(mut self) -> Detached {
        if let Some(dog) = self.watchdog.take() {
            dog.call_off();
        }
        Detached::new(self.site.clone())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(dog) = self.watchdog.take() else { return };
        self.kill();
        dog.finish();
    }
}

fn start(site: &Site, locks: &Locks) -> Result<Child, NodeError> {
    let settle = |command: &mut Command| {
        site.environment(command).args(site.kind.arguments(site));
        if site.kind == Kind::Apache {
            return;
        }
        if locks.user.is_some() {
            command.arg("--authentication");
        }
        if let Some([certificates, key]) = &locks.tls {
            command.arg("--cert").arg(certificates).arg("--key").arg(key);
        }
    };
    // Whoever speaks TLS does not answer what is asked in the clear.
    let speaks = || locks.tls.is_some() || answer::answers(site.port);
    site.server().start(settle, |pid| answer::listens(pid, site.port) && speaks())
}

/// Users are made by a client of a broker that does not ask for one yet.
fn make_users(site: &Site, locks: &Locks) -> Result<(), NodeError> {
    let Some([user, password]) = &locks.user else { return Ok(()) };
    let open = Site { advertised: site.port, ..site.clone() };
    let mut process = start(&open, &Locks::default())?;
    let made = ["scram256", "scram512"].into_iter().try_for_each(|mechanism| {
        let mut command = Command::new(site.dir.join("broker"));
        let words = ["user", "create", "--mechanism", mechanism, "--broker", &address(site.port)];
        run(site.environment(&mut command).args(words).args([user, password]), "make a user")
    });
    open.server().kill(&mut process);
    made
}

/// Runs a tool of the broker's that does `what`.
pub(super) fn run(command: &mut Command, what: &str) -> Result<(), NodeError> {
    let cannot = format!("cannot {what}");
    let output = command.output().map_err(|e| NodeError::io(&cannot, e))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = format!("{cannot}: {}", String::from_utf8_lossy(&text));
    Err(NodeError::new(NodeErrorKind::Ctl, text))
}
