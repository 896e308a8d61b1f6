//! [`Work`]: a closure that a component calls at each of its starts.

use std::future::Future;
use std::pin::Pin;

use downhaul_context::Context;

use crate::error::BoxError;

/// A closure that makes a future at each start, whatever its error.
pub(super) type Work<T> = Box<dyn Fn(Context) -> Working<T> + Send + Sync>;

type Working<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

pub(super) fn boxed<T, F, Fut, E>(work: F) -> Work<T>
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    E: Into<BoxError>,
{
    Box::new(move |ctx| {
        let working = work(ctx);
        Box::pin(async move { working.await.map_err(Into::into) })
    })
}
