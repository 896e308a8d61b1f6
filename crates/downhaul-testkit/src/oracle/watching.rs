//! [`LinkWatch`]: logs the losses of a consumer's link as they are noticed.

use downhaul_consumer::{ConsumerHandle, Link};
use tokio::task::JoinHandle;

use super::Oracle;
use super::record::Cause;

/// Logs until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct LinkWatch(JoinHandle<()>);

impl Oracle {
    /// Logs a [`Cause::LinkLost`] for `instance` each time the consumer says that its link is gone.
    ///
    /// It looks from beside, so a link that is back at once, as with the memory broker, may go
    /// unnoticed: where the test itself cuts, it logs that itself, before.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn watch_link(
        &self,
        instance: impl Into<String>,
        consumer: &ConsumerHandle,
        unsettled: u32,
    ) -> LinkWatch {
        let (oracle, instance, mut status) = (self.clone(), instance.into(), consumer.watch());
        let mut was_up = matches!(status.borrow_and_update().link, Link::Up);
        LinkWatch(tokio::spawn(async move {
            while status.changed().await.is_ok() {
                let is_up = matches!(status.borrow_and_update().link, Link::Up);
                if was_up && !is_up {
                    oracle.log(Cause::LinkLost { instance: instance.clone(), unsettled });
                }
                was_up = is_up;
            }
        }))
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
