//! [`Board`]: what is known of a running app, for probes, for the control interface and for
//! [`AppHandle`](crate::AppHandle).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use downhaul_consumer::ConsumerHandle;
use downhaul_consumer::outbox::RelayHandle;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::component::Component;
use crate::error::words_of;
use crate::status::{State, Status};

/// How far the app has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not all that it needs has been up yet.
    Starting,
    Running,
    /// It stops; the words say why.
    Draining(String),
    /// It is over.
    Over,
}

/// What readers see of an app.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) stage: Stage,
    /// It has been running.
    pub(crate) started: bool,
    /// Each component, in the order in which they were added.
    pub(crate) statuses: Vec<Status>,
}

/// How long a component may take to say whether it is ready. Probes are not patient.
const ANSWER: Duration = Duration::from_millis(500);

/// Hears where a component is now, by name, and why it failed, if it did.
type Listener = Box<dyn Fn(&str, State, Option<&str>) + Send + Sync>;

/// The parts of an app and how far it has come; read by many, written by its run.
pub(crate) struct Board {
    view: watch::Sender<View>,
    parts: OnceLock<Vec<Part>>,
    listener: OnceLock<Listener>,
}

/// A component that can be asked.
#[derive(Clone)]
struct Part {
    name: String,
    component: Arc<dyn Component>,
    /// Held while a probe asks it.
    asking: Arc<Mutex<()>>,
}

/// What a component says of itself.
struct Answer {
    not_ready: Option<String>,
    degraded: Option<String>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let view = View { stage: Stage::Starting, started: false, statuses: Vec::new() };
        Self { view: watch::Sender::new(view), parts: OnceLock::new(), listener: OnceLock::new() }
    }

    /// Has a test hear of all that happens, one by one and in order: who looks at the view may miss
    /// what was soon over.
    #[cfg(feature = "testing")]
    pub(crate) fn listen(
        &self,
        listener: impl Fn(&str, State, Option<&str>) + Send + Sync + 'static,
    ) {
        // Set once, by the one test of an app.
        let _ = self.listener.set(Box::new(listener));
    }

    /// Tells the listener, if there is one.
    pub(crate) fn note(&self, name: &str, state: State, error: Option<&str>) {
        if let Some(listener) = self.listener.get() {
            listener(name, state, error);
        }
    }

    pub(crate) fn set_parts(&self, parts: Vec<(String, Arc<dyn Component>)>) {
        let part = |(name, component)| Part { name, component, asking: Arc::default() };
        // Set once, by the one run of an app.
        let _ = self.parts.set(parts.into_iter().map(part).collect());
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.view.send_modify(|view| {
            view.started |= stage == Stage::Running;
            view.stage = stage;
        });
    }

    /// Says where the components are.
    pub(crate) fn set_statuses(&self, statuses: Vec<Status>) {
        self.view.send_modify(|view| view.statuses = statuses);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Whether the app is on its way up.
    pub(crate) fn is_starting(&self) -> bool {
        self.view.borrow().stage == Stage::Starting
    }

    /// Whether the app has come as far as running, though it may be on its way down now.
    pub(crate) fn has_started(&self) -> bool {
        self.view.borrow().started
    }

    /// What is degraded, or else why the service is not ready. No component holds this up.
    pub(crate) async fn probe(&self) -> Result<Vec<String>, String> {
        let answers = match self.view().is_told_to_stop() {
            true => Vec::new(),
            false => self.answers_in_time().await,
        };
        // As it is now: it may have been told to stop meanwhile.
        let view = self.view();
        view.not_ready(&answers).map_or_else(|| Ok(view.degraded(&answers)), Err)
    }

    /// Why the service is not ready, if it is not. Asks the components on this thread.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let answers = match self.view().is_told_to_stop() {
            true => Vec::new(),
            false => self.parts().iter().map(Part::ask).collect(),
        };
        self.view().not_ready(&answers)
    }

    /// What the components say within [`ANSWER`]. One that blocks keeps one thread, which is none
    /// of the runtime's, however often it is asked.
    async fn answers_in_time(&self) -> Vec<Answer> {
        let until = Instant::now() + ANSWER;
        let mut asked = JoinSet::new();
        for (index, part) in self.parts().iter().cloned().enumerate() {
            asked.spawn(async move {
                let asking = Arc::clone(&part.asking).lock_owned().await;
                let ask = move || {
                    let _asking = asking;
                    part.ask()
                };
                (index, spawn_blocking(ask).await)
            });
        }
        let mut answers: Vec<_> = self.parts().iter().map(|part| part.silent()).collect();
        while let Ok(Some(Ok((index, Ok(answer))))) = timeout_at(until, asked.join_next()).await {
            answers[index] = answer;
        }
        answers
    }

    /// The consumer of one component, if it is one and has started.
    pub(crate) fn consumer(&self, part: usize) -> Option<ConsumerHandle> {
        self.parts().get(part)?.component.consumer()
    }

    /// All consumers that have started.
    pub(crate) fn consumers(&self) -> Vec<ConsumerHandle> {
        self.parts().iter().filter_map(|part| part.component.consumer()).collect()
    }

    /// All relays, by the names of their components.
    pub(crate) fn relays(&self) -> Vec<(String, RelayHandle)> {
        let relay = |part: &Part| Some((part.name.clone(), part.component.relay()?));
        self.parts().iter().filter_map(relay).collect()
    }

    fn parts(&self) -> &[Part] {
        self.parts.get().map(Vec::as_slice).unwrap_or_default()
    }
}

impl Part {
    /// Asks whether it is ready. A panic costs the answer alone.
    fn ask(&self) -> Answer {
        let Self { component, .. } = self;
        let ask = || Answer {
            not_ready: component.not_ready().map(|why| self.named(why)),
            degraded: component.degraded().map(|why| self.named(why)),
        };
        catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|panic| {
            let not_ready = self.silent().not_ready;
            let not_ready = not_ready.map(|silent| format!("{silent}: {}", words_of(panic)));
            Answer { not_ready, degraded: None }
        })
    }

    /// What a relay says of itself, with the name of its component: it has none of its own, and an
    /// app may have several.
    fn named(&self, why: String) -> String {
        match self.component.relay() {
            Some(_) => format!("{}: {why}", self.name),
            None => why,
        }
    }

    /// What is taken for the answer of one that gives none.
    fn silent(&self) -> Answer {
        let not_ready = format!("{} does not say whether it is ready", self.name);
        Answer { not_ready: Some(not_ready), degraded: None }
    }
}

impl View {
    /// Whether it matters no more what the components say.
    fn is_told_to_stop(&self) -> bool {
        matches!(self.stage, Stage::Draining(_) | Stage::Over)
    }

    /// Why the service is not ready, if it is not.
    fn not_ready(&self, answers: &[Answer]) -> Option<String> {
        let held_up = || self.held_up(answers, true).into_iter().next();
        match &self.stage {
            Stage::Starting => Some(match held_up() {
                Some(why) => format!("starting: {why}"),
                None => "starting".to_owned(),
            }),
            Stage::Draining(why) => Some(format!("draining: {why}")),
            Stage::Over => Some("stopped".to_owned()),
            Stage::Running => held_up(),
        }
    }

    /// What is wrong, though the service is ready: with components that it can do without, and with
    /// what others depend on.
    fn degraded(&self, answers: &[Answer]) -> Vec<String> {
        let mut wrong = self.held_up(answers, false);
        wrong.extend(answers.iter().filter_map(|answer| answer.degraded.clone()));
        wrong
    }

    /// What is wrong with the components that are, or are not, essential.
    fn held_up(&self, answers: &[Answer], essential: bool) -> Vec<String> {
        let parts = self.statuses.iter().zip(answers);
        let parts = parts.filter(|(status, _)| status.essential == essential);
        parts.filter_map(|(status, answer)| complaint(status, answer)).collect()
    }
}

/// What there is to say of a component against the readiness of its app.
fn complaint(status: &Status, answer: &Answer) -> Option<String> {
    let Status { name, state, last_error, .. } = status;
    let degraded = answer.degraded.as_ref().filter(|_| !state.is_up());
    match (state, answer.not_ready.as_ref().or(degraded)) {
        (_, Some(why)) => Some(why.clone()),
        (state, None) if state.is_up() => None,
        (State::Resting | State::Failed, None) => {
            Some(format!("{name} is {state}: {}", last_error.as_deref().unwrap_or_default()))
        }
        // Those that wait do so for others, who say why.
        (State::Waiting, None) => None,
        (_, None) => Some(format!("{name} is {state}")),
    }
}
