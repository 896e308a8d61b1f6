//! [`Capture`]: what a test has logged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, registry};

/// A line that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its fields by name, its `message` among them.
    pub fields: BTreeMap<String, String>,
    /// All of it: the level, then the fields in their order. Texts are in quotes.
    pub text: String,
}

/// Keeps what this thread logs while it lives.
///
/// # Examples
///
/// ```
/// use downhaul_testkit::capture::Capture;
///
/// let log = Capture::start(|line| *line.level() <= tracing::Level::INFO);
/// tracing::info!(room = "7", "it is warm");
/// tracing::debug!("nobody asked");
/// let lines = log.take();
/// assert_eq!(lines[0].fields["room"], "7");
/// assert_eq!(lines[0].text, r#"INFO message=it is warm room="7""#);
/// assert_eq!((lines.len(), log.lines()), (1, vec![]));
/// ```
pub struct Capture {
    lines: Arc<Mutex<Vec<Line>>>,
    _guard: DefaultGuard,
}

impl Capture {
    /// Begins to keep the lines that `wanted` is true of.
    pub fn start(wanted: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        let lines = Arc::default();
        let subscriber = registry().with(Keep { lines: Arc::clone(&lines), wanted });
        Self { lines, _guard: listen(subscriber) }
    }

    /// All lines since the beginning, or since they were last [taken](Self::take).
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same lines, which are forgotten then.
    pub fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets `subscriber` hear what this thread logs while the guard lives.
///
/// `tracing` asks a single subscriber of a process in the thread that meets a line first. If that
/// is a test that listens to nothing, the line is off for everybody. So here it is never single.
pub fn listen(subscriber: impl Subscriber + Send + Sync) -> DefaultGuard {
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(registry()));
    LazyLock::force(&ANOTHER);
    tracing::subscriber::set_default(subscriber)
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Capture").field(&self.lines()).finish()
    }
}

struct Keep<F> {
    lines: Arc<Mutex<Vec<Line>>>,
    wanted: F,
}

impl<S, F> Layer<S> for Keep<F>
where
    S: Subscriber,
    F: Fn(&Metadata<'_>) -> bool + Send + Sync + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if (self.wanted)(event.metadata()) {
            let level = *event.metadata().level();
            let mut line = Line { level, fields: BTreeMap::new(), text: level.to_string() };
            event.record(&mut line);
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.text += &format!(" {}={value}", field.name());
        self.fields.insert(field.name().to_owned(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text += &format!(" {}={value:?}", field.name());
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}
