//! Signals, in one place: the first drains, the second forces, the third exits.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// A wish to stop, from whoever may ask a process to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGINT`: Ctrl-C at a terminal.
    Interrupt,
    /// `SIGTERM`: an orchestrator.
    Terminate,
}

impl Signal {
    /// The exit code of a process that this signal cut short: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Listens to the process's signals until the receiver is dropped.
pub(crate) fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminates = signal(SignalKind::terminate())?;
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let received = tokio::select! {
                Some(()) = interrupts.recv() => Signal::Interrupt,
                Some(()) = terminates.recv() => Signal::Terminate,
                () = sender.closed() => return,
            };
            // A full channel holds more signals than anything below reacts to.
            let _ = sender.try_send(received);
        }
    });
    Ok(receiver)
}
