//! [`Ask`]: what a program or an operator wants of a running app.

use tokio::sync::oneshot;

use super::course::{After, Course};
use super::{Part, Run, Told};
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
            Verb::Start => self.course = self.released(part, &[])?,
            Verb::Stop => self.course.hold(part),
            Verb::Restart => {
                self.course = self.released(part, &self.setup.graph.all_dependents(part))?;
                self.course.stop_first(part, After::Again);
            }
        }
        Ok(())
    }

    /// The course on which a part and all that it needs may run, and these stop and start again.
    /// Refused where a part would start again that cannot, or not yet: one of these, or one that is
    /// down and goes with them.
    fn released(&self, part: usize, again: &[usize]) -> Result<Course, Refused> {
        let mut course = self.course.clone();
        course.release(part);
        let wanted = course.wanted();
        let goes_on = |part| match course.state(part) {
            State::Starting => !course.is_interrupted(part),
            state => state.is_up(),
        };
        // To be tried again, if only once what it needs is up again.
        let revived = |part| self.course.state(part).is_lost() && !course.state(part).is_lost();
        let starts = |part: &&Part| {
            let at_once = again.contains(&part.index) || !goes_on(part.index);
            wanted[part.index] && at_once || revived(part.index)
        };
        let refused = |part: &Part| {
            let (name, state) = (part.name.clone(), self.course.state(part.index));
            match part.starts {
                0 => None,
                _ if !part.component.can_restart() => Some(Refused::CannotRestart { name }),
                _ if state.is_down() && part.is_at_work() => Some(Refused::AtWork { name }),
                _ => None,
            }
        };
        self.parts.iter().filter(starts).find_map(refused).map_or(Ok(course), Err)
    }
}
