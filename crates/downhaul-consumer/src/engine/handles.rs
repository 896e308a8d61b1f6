//! [`Handles`]: who handles messages, and how many at a time.

use crate::batch::{BatchHandler, Batches};
use crate::handler::Handler;

#[derive(Clone, Debug)]
pub(crate) enum Handles {
    Singly(Handler),
    InBatches(Batches, BatchHandler),
}
