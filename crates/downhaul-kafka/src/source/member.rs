//! [`Member`]: a handle to the client, which leaves its group when the last one is dropped.

use std::sync::Arc;
use std::thread;

use downhaul_consumer::BrokerError;

use crate::blocking::blocking;
use crate::error::closed;
use crate::source::callbacks::Client;

/// Leaving waits for brokers, and so happens on a thread of its own.
///
/// Queues of the client must be dropped before: whoever has some has a member, too, and drops it
/// after them.
pub(super) struct Member(Option<Arc<Client>>);

impl Member {
    pub(super) fn new(client: Client) -> Self {
        Self(Some(Arc::new(client)))
    }

    /// Another handle.
    pub(super) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// The client, unless this has left. Who keeps it keeps it from leaving.
    pub(super) fn client(&self) -> Result<&Arc<Client>, BrokerError> {
        self.0.as_ref().ok_or_else(closed)
    }

    /// Leaves, and returns when that is done, if this is the last handle.
    pub(super) async fn leave(&mut self) {
        if let Some(client) = self.0.take().and_then(Arc::into_inner) {
            // It cannot fail, and who is gone has left as well.
            let _ = blocking(move || {
                drop(client);
                Ok(())
            })
            .await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(client) = self.0.take().and_then(Arc::into_inner) {
            // If there is no thread to be had, it happens here.
            let leaving = thread::Builder::new().name("kafka-leave".to_owned());
            let _ = leaving.spawn(move || drop(client));
        }
    }
}
