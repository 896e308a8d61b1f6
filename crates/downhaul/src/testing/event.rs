//! [`Event`]: what happened to a component, and [`Journal`]: all of it, in order.

use std::fmt;
use std::time::Duration;

use downhaul_context::Instant;
use tokio::sync::watch;

use crate::status::State;

/// What happened to a component of a [`TestApp`](super::TestApp).
///
/// Its `Display` is `store started`, with the error behind it if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The name of the component.
    pub component: String,
    /// Where it was then: [`Running`](State::Running) for one that has started.
    pub state: State,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// How long after the app began, by tokio's clock.
    pub after: Duration,
}

impl Event {
    /// Its words without the error: `store started`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.component, word(self.state))
    }

    /// Whether it is more than a beginning.
    pub(super) fn is_done(&self) -> bool {
        !matches!(self.state, State::Starting | State::Stopping)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())?;
        self.error.iter().try_for_each(|error| write!(f, ": {error}"))
    }
}

/// All words for what can happen.
pub(super) const WORDS: [&str; 6] =
    ["starting", "started", "done", "failed", "stopping", "stopped"];

fn word(state: State) -> &'static str {
    match state {
        State::Waiting | State::Starting => WORDS[0],
        State::Running => WORDS[1],
        State::Done => WORDS[2],
        State::Resting | State::Failed => WORDS[3],
        State::Stopping => WORDS[4],
        State::Stopped => WORDS[5],
    }
}

/// What has happened so far, in order.
pub(super) struct Journal {
    began: Instant,
    events: watch::Sender<Vec<Event>>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), events: watch::Sender::default() }
    }

    pub(super) fn write(&self, component: &str, state: State, error: Option<&str>) {
        let (component, error) = (component.to_owned(), error.map(str::to_owned));
        let event = Event { component, state, error, after: self.began.elapsed() };
        self.events.send_modify(|events| events.push(event));
    }

    pub(super) fn read(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// Waits until something has happened so many times.
    pub(super) async fn until(&self, words: &str, times: usize) {
        let happened = |events: &Vec<Event>| {
            events.iter().filter(|event| event.words() == words).count() >= times
        };
        // The sender is ours: this does not fail.
        let _ = self.events.subscribe().wait_for(happened).await;
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what happened:")?;
        let events = self.read();
        if events.is_empty() {
            f.write_str(" nothing")?;
        }
        events
            .iter()
            .try_for_each(|event| write!(f, "\n  {:>8.2} s  {event}", event.after.as_secs_f64()))
    }
}
