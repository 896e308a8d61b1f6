//! [`Board`]: what is known of a running app, for probes and the control interface.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use downhaul_consumer::ConsumerHandle;

use crate::component::Component;

/// How far the app has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Starting,
    Running,
    /// It stops; the words say why.
    Draining(String),
}

/// The parts of an app and how far it has come; read by many, written by the app.
pub(crate) struct Board {
    stage: RwLock<Stage>,
    parts: OnceLock<Vec<Arc<dyn Component>>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { stage: RwLock::new(Stage::Starting), parts: OnceLock::new() }
    }

    pub(crate) fn set_parts(&self, parts: Vec<Arc<dyn Component>>) {
        // Set once, by the one run of an app.
        let _ = self.parts.set(parts);
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Why the service is not ready, if it is not.
    pub(crate) fn not_ready(&self) -> Option<String> {
        match &*self.stage.read().unwrap_or_else(PoisonError::into_inner) {
            Stage::Starting => Some(match self.held_up() {
                Some(why) => format!("starting: {why}"),
                None => "starting".to_owned(),
            }),
            Stage::Draining(why) => Some(format!("draining: {why}")),
            Stage::Running => self.held_up(),
        }
    }

    fn held_up(&self) -> Option<String> {
        self.parts().iter().find_map(|part| part.not_ready())
    }

    /// All consumers that have started.
    pub(crate) fn consumers(&self) -> Vec<ConsumerHandle> {
        self.parts().iter().filter_map(|part| part.consumer()).collect()
    }

    fn parts(&self) -> &[Arc<dyn Component>] {
        self.parts.get().map(Vec::as_slice).unwrap_or_default()
    }
}
