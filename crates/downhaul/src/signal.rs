//! Signals, in one place: the first drains, the second forces, the third exits, and so does one
//! that comes when all is over.

use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::{fmt, io, thread};

use serde::{Serialize, Serializer};
use tokio::runtime::Builder;
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

/// Who hears the signals of this process; `None` before anybody does.
static LISTENERS: Mutex<Option<Vec<mpsc::Sender<Signal>>>> = Mutex::new(None);

/// Listens to the process's signals until the receiver is dropped. When nobody listens any more
/// they end the process, as they would have before: tokio never gives them back to the system.
pub(crate) fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    if listeners.is_none() {
        begin()?;
    }
    // A full channel holds more signals than anybody reacts to.
    let (sender, receiver) = mpsc::channel(8);
    listeners.get_or_insert_default().push(sender);
    Ok(receiver)
}

/// Begins to hear signals, on a thread of its own for as long as the process lives: the runtime of
/// the program may be gone before its `main` is.
fn begin() -> io::Result<()> {
    let (begun, begins) = std::sync::mpsc::channel();
    let hearing = move || {
        let runtime = Builder::new_current_thread().enable_io().build();
        // It ends by itself only where it cannot begin.
        let Err(error) = runtime.and_then(|runtime| runtime.block_on(hear(&begun)));
        let _ = begun.send(Err(error));
    };
    thread::Builder::new().name("downhaul-signals".to_owned()).spawn(hearing)?;
    begins.recv().map_err(io::Error::other)?
}

async fn hear(begun: &Sender<io::Result<()>>) -> io::Result<Infallible> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminates = signal(SignalKind::terminate())?;
    let _ = begun.send(Ok(()));
    loop {
        tell(tokio::select! {
            Some(()) = interrupts.recv() => Signal::Interrupt,
            Some(()) = terminates.recv() => Signal::Terminate,
            else => std::future::pending().await,
        });
    }
}

/// Tells all who listen of a signal.
fn tell(heard: Signal) {
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    let listeners = listeners.get_or_insert_default();
    listeners.retain(|listener| !listener.is_closed());
    if listeners.is_empty() {
        std::process::exit(i32::from(heard.exit_code()));
    }
    for listener in listeners {
        let _ = listener.try_send(heard);
    }
}
