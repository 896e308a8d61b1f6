//! What was logged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, registry};

/// The fields of an event, its message among them.
pub(crate) type Fields = BTreeMap<String, String>;

/// Keeps the warnings of this crate that are logged by this thread while it lives.
pub(crate) struct Warnings {
    lines: Arc<Mutex<Vec<Fields>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Warnings {
    pub(crate) fn capture() -> Self {
        let lines = Arc::default();
        let subscriber = registry().with(Keep(Arc::clone(&lines)));
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Those since the last time.
    pub(crate) fn take(&self) -> Vec<Fields> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

struct Keep(Arc<Mutex<Vec<Fields>>>);

impl<S: tracing::Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_ours = metadata.target().starts_with("downhaul_rabbitmq");
        if is_ours && *metadata.level() == tracing::Level::WARN {
            let mut fields = Read::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[derive(Default)]
struct Read(Fields);

impl Visit for Read {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
