//! What was logged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, registry};

/// An event: its level, its message and its fields.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: tracing::Level,
    pub(crate) target: String,
    pub(crate) fields: BTreeMap<String, String>,
}

/// Keeps what is logged by this thread while it lives.
pub(crate) struct Capture {
    lines: Arc<Mutex<Vec<Line>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Capture {
    pub(crate) fn start() -> Self {
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let subscriber = registry().with(Keep(Arc::clone(&lines)));
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Whether a line says this.
    pub(crate) fn says(&self, words: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        let mut said = lines.iter().filter_map(|line| line.fields.get("message"));
        said.any(|said| said.contains(words))
    }

    /// The warnings of our own.
    pub(crate) fn warnings(&self) -> Vec<Line> {
        let lines = self.lines.lock().unwrap();
        let ours = |line: &&Line| line.target.starts_with("downhaul_kafka");
        let is_warning = |line: &&Line| line.level == tracing::Level::WARN;
        lines.iter().filter(ours).filter(is_warning).cloned().collect()
    }
}

struct Keep(Arc<Mutex<Vec<Line>>>);

impl<S: tracing::Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.0.lock().unwrap().push(Line {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            fields: fields.0,
        });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
