//! [`Board`]: what is known of a running app, for probes, for the control interface and for
//! [`AppHandle`](crate::AppHandle).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use downhaul_consumer::ConsumerHandle;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::component::Component;
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

/// How long the components may take to say whether they are ready. Probes are not patient.
const ANSWER: Duration = Duration::from_millis(500);

/// Hears where a component is now, by name, and why it failed, if it did.
type Listener = Box<dyn Fn(&str, State, Option<&str>) + Send + Sync>;

/// The parts of an app and how far it has come; read by many, written by its run.
pub(crate) struct Board {
    view: watch::Sender<View>,
    parts: OnceLock<Vec<Arc<dyn Component>>>,
    listener: OnceLock<Listener>,
    /// Held while probes ask the components.
    asking: Arc<Mutex<()>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let view = View { stage: Stage::Starting, started: false, statuses: Vec::new() };
        Self {
            view: watch::Sender::new(view),
            parts: OnceLock::new(),
            listener: OnceLock::new(),
            asking: Arc::default(),
        }
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

    pub(crate) fn set_parts(&self, parts: Vec<Arc<dyn Component>>) {
        // Set once, by the one run of an app.
        let _ = self.parts.set(parts);
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

    /// What is [degraded](Self::degraded), or else why the service is [not ready](Self::not_ready).
    /// One component that blocks keeps one thread, which is none of the runtime's, and no probe.
    pub(crate) async fn probe(self: &Arc<Self>) -> Result<Vec<String>, String> {
        let board = Arc::clone(self);
        let answer = async {
            let asking = Arc::clone(&board.asking).lock_owned().await;
            let ask = move || {
                let _asking = asking;
                board.not_ready().map_or_else(|| Ok(board.degraded()), Err)
            };
            spawn_blocking(ask).await.ok()
        };
        let answer = timeout(ANSWER, answer).await.ok().flatten();
        answer.unwrap_or_else(|| Err("a component does not answer".to_owned()))
    }

    /// Why the service is not ready, if it is not.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let View { stage, statuses, .. } = self.view();
        let held_up = || self.held_up(&statuses, true).into_iter().next();
        match stage {
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
    pub(crate) fn degraded(&self) -> Vec<String> {
        let mut wrong = self.held_up(&self.view().statuses, false);
        wrong.extend(self.parts().iter().filter_map(|part| part.degraded()));
        wrong
    }

    /// What is wrong with the components that are, or are not, essential.
    fn held_up(&self, statuses: &[Status], essential: bool) -> Vec<String> {
        let parts = statuses.iter().zip(self.parts());
        let parts = parts.filter(|(status, _)| status.essential == essential);
        parts.filter_map(|(status, part)| complaint(status, part.as_ref())).collect()
    }

    /// The consumer of one component, if it is one and has started.
    pub(crate) fn consumer(&self, part: usize) -> Option<ConsumerHandle> {
        self.parts().get(part)?.consumer()
    }

    /// All consumers that have started.
    pub(crate) fn consumers(&self) -> Vec<ConsumerHandle> {
        self.parts().iter().filter_map(|part| part.consumer()).collect()
    }

    fn parts(&self) -> &[Arc<dyn Component>] {
        self.parts.get().map(Vec::as_slice).unwrap_or_default()
    }
}

/// What a component has to say against the readiness of its app.
fn complaint(status: &Status, part: &dyn Component) -> Option<String> {
    let Status { name, state, last_error, .. } = status;
    let why = part.not_ready().or_else(|| part.degraded().filter(|_| !state.is_up()));
    match (state, why) {
        (_, Some(why)) => Some(why),
        (state, None) if state.is_up() => None,
        (State::Resting | State::Failed, None) => {
            Some(format!("{name} is {state}: {}", last_error.as_deref().unwrap_or_default()))
        }
        // Those that wait do so for others, who say why.
        (State::Waiting, None) => None,
        (_, None) => Some(format!("{name} is {state}")),
    }
}
