//! [`Ask`]: what a program or an operator wants of a running app.

use tokio::sync::oneshot;

use super::course::After;
use super::{Run, Told};
use crate::handle::Refused;
use crate::status::State;

/// What is wanted of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
}

/// What a program or an operator wants of a running app.
#[derive(Debug)]
pub(crate) enum Ask {
    /// That it stops, for this reason.
    App(String),
    /// Something of one of its parts; the answer comes before it is done.
    Part { part: usize, verb: Verb, answer: oneshot::Sender<Result<(), Refused>> },
}

impl Run {
    /// Begins what is asked. Returns why the app is to stop, if it is.
    pub(super) fn answer(&mut self, ask: Ask) -> Option<Told> {
        match ask {
            Ask::App(words) => Some(Told::Asked(words)),
            Ask::Part { part, verb, answer } => {
                let begun = self.begin(part, verb);
                // The states are those after it has begun, for whoever waits for the answer.
                self.go_on();
                let _ = answer.send(begun);
                None
            }
        }
    }

    fn begin(&mut self, part: usize, verb: Verb) -> Result<(), Refused> {
        if self.ending.is_some() {
            return Err(Refused::Stopping);
        }
        match verb {
            Verb::Start => {
                self.refuse_second_start(&self.frame.graph.all_needs(part), is_not_up)?;
                self.course.release(part);
            }
            Verb::Stop => self.course.hold(part),
            Verb::Restart => {
                self.refuse_second_start(&self.frame.graph.all_needs(part), is_not_up)?;
                self.refuse_second_start(&self.frame.graph.all_dependents(part), |_| true)?;
                self.course.release(part);
                self.course.stop_first(part, After::Again);
            }
        }
        Ok(())
    }

    /// Refuses what would start one of these again that cannot be.
    fn refuse_second_start(
        &self,
        parts: &[usize],
        starts: impl Fn(State) -> bool,
    ) -> Result<(), Refused> {
        let cannot = |part: &&usize| {
            let part = &self.parts[**part];
            part.starts > 0 && starts(part.state) && !part.component.can_restart()
        };
        match parts.iter().find(cannot) {
            Some(part) => Err(Refused::CannotRestart { name: self.parts[*part].name.clone() }),
            None => Ok(()),
        }
    }
}

fn is_not_up(state: State) -> bool {
    !state.is_up()
}
