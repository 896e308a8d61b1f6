//! [`AbortOnDrop`]: a task that ends with whoever has this.

use tokio::task::AbortHandle;

pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
