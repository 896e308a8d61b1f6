//! [`Roll`]: who has not left their group yet.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the members of groups, from before they join until they have left. A process that ends
/// before they have is missed by its groups only when its session is over, and nobody gets in until
/// then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roll(Arc<watch::Sender<usize>>);

/// One of them. It has left when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry(Roll);

impl Roll {
    pub(crate) fn enter(&self) -> Entry {
        self.0.send_modify(|members| *members += 1);
        Entry(self.clone())
    }

    /// Waits until all have left.
    pub(crate) async fn is_empty(&self) {
        // It cannot fail: we have the sender.
        let _ = self.0.subscribe().wait_for(|members| *members == 0).await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.send_modify(|members| *members -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_is_empty_when_the_last_has_left_wherever_that_is() {
        let roll = Roll::default();
        assert_eq!(roll.is_empty().now_or_never(), Some(()));
        let (first, second) = (roll.enter(), roll.enter());
        let (go, gone) = mpsc::channel();
        let leaving = thread::spawn(move || {
            gone.recv().unwrap();
            drop(second);
        });
        drop(first);
        assert_eq!(roll.is_empty().now_or_never(), None);
        go.send(()).unwrap();
        roll.is_empty().await;
        leaving.join().unwrap();
    }
}
