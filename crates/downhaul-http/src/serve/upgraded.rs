//! [`Upgraded`]: what a request keeps whose connection goes on as something else, such as a
//! WebSocket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use downhaul_context::Canceller;

use crate::lifetime::in_flight::InFlight;
use crate::listen::transport::Closer;

/// The request that has taken over its connection, from the 101 to the end of the socket.
#[derive(Default)]
pub(crate) struct Upgraded {
    state: Mutex<State>,
    /// The same without a lock: reads ask for it.
    is_kept: AtomicBool,
}

#[derive(Default)]
enum State {
    #[default]
    No,
    /// In flight, and its context lasts.
    Kept {
        _canceller: Option<Canceller>,
        request: Arc<InFlight>,
        /// Closes the socket while nobody looks at it.
        closer: Option<Closer>,
    },
    /// The socket is gone: nothing would end what comes now.
    Over,
}

impl Upgraded {
    pub(crate) fn keep(&self, canceller: Option<Canceller>, request: Arc<InFlight>) {
        let kept = State::Kept { _canceller: canceller, request, closer: None };
        let mut state = self.state();
        if let State::No = *state {
            *state = kept;
            self.is_kept.store(true, Ordering::Release);
        } else {
            // Not under the lock: this ends a context.
            drop(state);
            drop(kept);
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Acquire)
    }

    /// Lets it be [closed](Self::close).
    pub(crate) fn hold(&self, socket: Closer) {
        if let State::Kept { closer, .. } = &mut *self.state() {
            *closer = Some(socket);
        }
    }

    /// Closes its socket, whoever has it.
    pub(crate) fn close(&self) {
        let closer = match &mut *self.state() {
            State::Kept { closer, .. } => closer.take(),
            _ => None,
        };
        let _ = closer.map(|close| close());
    }

    /// The socket is gone, and with it the request.
    pub(crate) fn end(&self) {
        let before = std::mem::replace(&mut *self.state(), State::Over);
        if let State::Kept { request, .. } = before {
            request.over();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
