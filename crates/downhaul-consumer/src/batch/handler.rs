//! [`BatchHandler`]: a handler of batches without its types.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use downhaul_context::Context;

use crate::batch::IntoOutcomes;
use crate::decode::{Decode, DecodeError, decode_safely};
use crate::handler::{Incoming, Meta};
use crate::settlement::Outcome;

/// A handler of batches, as the engine runs it.
#[derive(Clone)]
pub(crate) struct BatchHandler(Arc<dyn Fn(Context, Vec<Meta>) -> Call + Send + Sync>);

type Handling = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send>>;

/// A call of a handler.
pub(crate) struct Call {
    /// What became of each message so far: why it cannot be read, or `Ok` if the handler has it.
    pub(crate) decoded: Vec<Result<(), DecodeError>>,
    /// Gives an outcome for each message that the handler has. `None` if it has none.
    pub(crate) handling: Option<Handling>,
}

impl BatchHandler {
    pub(crate) fn new<M, F, Fut>(function: F) -> Self
    where
        M: Decode + 'static,
        F: Fn(Context, Vec<Incoming<M>>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcomes,
    {
        Self(Arc::new(move |ctx, metas| {
            let (mut decoded, mut batch) = (Vec::new(), Vec::new());
            for meta in metas {
                decoded.push(decode_safely::<M>(&meta.message).map(|body| {
                    batch.push(Incoming::new(body, meta));
                }));
            }
            if batch.is_empty() {
                return Call { decoded, handling: None };
            }
            let count = batch.len();
            let handling = function(ctx, batch);
            let handling = Box::pin(async move { handling.await.into_outcomes(count) });
            Call { decoded, handling: Some(handling) }
        }))
    }

    pub(crate) fn call(&self, ctx: Context, metas: Vec<Meta>) -> Call {
        (self.0)(ctx, metas)
    }
}

impl fmt::Debug for BatchHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchHandler")
    }
}
