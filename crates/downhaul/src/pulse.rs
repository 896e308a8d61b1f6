//! [`Pulse`]: keeps a runtime awake whose threads may be blocked.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

/// How long signals, sockets and the clock may go unheard.
const BEAT: Duration = Duration::from_millis(250);

/// A thread of its own that gives tokio's threads something to do, until this is dropped.
///
/// One of tokio's threads looks at signals, sockets and the clock, and the others sleep until there
/// is work. Where that thread is given a task that blocks it, nobody looks until another is woken:
/// the process hears no SIGTERM, and no 504 is sent. An empty task wakes one, which then looks
/// itself.
pub(crate) struct Pulse(#[expect(dead_code, reason = "the thread ends with it")] Option<Ends>);

type Ends = mpsc::Sender<()>;

impl Pulse {
    /// Begins on the runtime that this is called in; none where it has no thread but this one, or
    /// the system has no thread to give.
    pub(crate) fn start() -> Self {
        let runtime = Handle::current();
        if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
            return Self(None);
        }
        let (ends, ended) = mpsc::channel();
        let beat = move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // Of a runtime that is gone it does nothing.
                drop(runtime.spawn(async {}));
            }
        };
        let thread = thread::Builder::new().name("downhaul-pulse".to_owned()).spawn(beat);
        Self(thread.is_ok().then_some(ends))
    }
}
