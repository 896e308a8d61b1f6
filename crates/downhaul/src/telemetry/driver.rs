//! [`Driver`]: what drives exporters that take a runtime.

use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};

use super::TelemetryError;

/// A runtime of its own, since the program's may not be there yet, or may have its only thread
/// blocked.
#[derive(Debug)]
pub(super) struct Driver {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Driver {
    /// The one that is there, or else a new one.
    pub(super) fn of(driver: &mut Option<Arc<Self>>) -> Result<&Self, TelemetryError> {
        match driver {
            Some(driver) => Ok(driver),
            none => Ok(none.insert(Arc::new(Self::new()?))),
        }
    }

    fn new() -> Result<Self, TelemetryError> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("telemetry").enable_all();
        let runtime = builder.build().map_err(|error| TelemetryError::Exporter(Box::new(error)))?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Not to wait for it, which panics on an async thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
