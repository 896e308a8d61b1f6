//! [`Member`]: a handle to the client, which leaves its group when the last one is dropped.

use std::sync::Arc;
use std::thread;

use downhaul_consumer::BrokerError;

use crate::blocking::blocking;
use crate::error::closed;
use crate::roll::Entry;
use crate::source::callbacks::Client;

/// Leaving waits for brokers, and so happens on a thread of its own.
///
/// Queues of the client must be dropped before: whoever has some has a member, too, and drops it
/// after them.
pub(super) struct Member {
    client: Option<Arc<Client>>,
    /// Goes wherever the client does.
    entry: Arc<Entry>,
}

impl Member {
    pub(super) fn new(client: Client, entry: Entry) -> Self {
        Self { client: Some(Arc::new(client)), entry: Arc::new(entry) }
    }

    /// Another handle.
    pub(super) fn share(&self) -> Self {
        Self { client: self.client.clone(), entry: Arc::clone(&self.entry) }
    }

    /// The client, unless this has left. Who keeps it keeps it from leaving.
    pub(super) fn client(&self) -> Result<&Arc<Client>, BrokerError> {
        self.client.as_ref().ok_or_else(closed)
    }

    /// Leaves, and returns when that is done, if this is the last handle.
    pub(super) async fn leave(&mut self) {
        if let Some(client) = self.client.take().and_then(Arc::into_inner) {
            let entry = Arc::clone(&self.entry);
            // It cannot fail, and who is gone has left as well.
            let _ = blocking(move || {
                drop(client);
                drop(entry);
                Ok(())
            })
            .await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().and_then(Arc::into_inner) {
            let entry = Arc::clone(&self.entry);
            // If there is no thread to be had, it happens here.
            let leaving = thread::Builder::new().name("kafka-leave".to_owned());
            let _ = leaving.spawn(move || {
                drop(client);
                drop(entry);
            });
        }
    }
}
