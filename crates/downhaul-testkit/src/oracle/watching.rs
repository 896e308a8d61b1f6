//! [`LinkWatch`]: logs the losses of links that go through a proxy.

use tokio::task::JoinHandle;

use super::Oracle;
use super::record::Cause;
use crate::proxy::Proxy;

/// Logs until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct LinkWatch(JoinHandle<()>);

impl Oracle {
    /// Logs a [`Cause::LinkLost`] for `instance` each time a connection through `proxy` ends,
    /// whatever ends it.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn watch_links(
        &self,
        instance: impl Into<String>,
        proxy: &Proxy,
        unsettled: u32,
    ) -> LinkWatch {
        let (oracle, instance, mut counts) = (self.clone(), instance.into(), proxy.watch());
        let mut known = counts.borrow_and_update().ended();
        LinkWatch(tokio::spawn(async move {
            while let Ok(counts) = counts.wait_for(|counts| counts.ended() > known).await {
                for _ in known..counts.ended() {
                    oracle.log(Cause::LinkLost { instance: instance.clone(), unsettled });
                }
                known = counts.ended();
            }
        }))
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
