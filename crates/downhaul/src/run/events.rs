//! What has happened to the parts of a running app, and what comes of it.

use std::time::Duration;

use downhaul_context::Reason;

use super::course::After;
use super::part::Event;
use super::{Run, Told};
use crate::component::Ended;
use crate::error::chain;
use crate::report::{ComponentReport, Outcome};
use crate::status::State;
use crate::telemetry::metrics::instruments;

impl Run {
    /// Takes note of what has happened to a part. Returns why the app is to stop, if it is.
    pub(super) fn hear(&mut self, part: usize, event: Event) -> Option<Told> {
        match event {
            Event::Started(Ok(())) => {
                self.course.started(part, None);
                self.parts[part].watch(&self.sender);
                tracing::info!(component = self.parts[part].name, "started");
                self.notes.push((part, State::Running));
                None
            }
            Event::Started(Err(error)) => self.did_not_start(part, chain(error.as_ref())),
            Event::Interrupted => {
                self.course.started(part, Some(After::Again));
                None
            }
            Event::Stuck(error) => self.stuck(part, error),
            Event::Ended(life, _) | Event::Rested(life) if life != self.parts[part].starts => None,
            // One that is stopped anyway ends as it should.
            Event::Ended(..) if self.course.state(part) != State::Running => None,
            Event::Ended(_, ended) => self.ended(part, ended),
            Event::Stopped(report) => self.stopped(part, report),
            Event::Rested(_) => {
                self.course.rested(part);
                None
            }
        }
    }

    fn did_not_start(&mut self, part: usize, error: String) -> Option<Told> {
        let reason = Reason::component_failed(self.parts[part].name.clone(), error.clone());
        self.parts[part].end(reason);
        if self.course.is_interrupted(part) {
            // It was not wanted any more: that it could not start matters to the report alone.
            self.parts[part].last_error = Some(error);
            self.course.started(part, Some(After::Again));
            return None;
        }
        // An app that cannot start says so at once.
        let first = self.parts[part].starts == 1 && self.setup.essential[part];
        let after = match first {
            true => After::Failed,
            false => self.after_failure(part, Duration::ZERO),
        };
        let told = self.failed(part, error, after, first);
        self.course.started(part, Some(after));
        self.rest(part);
        told
    }

    /// Takes note that a start keeps its thread. It may do so for ever, so nobody waits for it.
    fn stuck(&mut self, part: usize, error: String) -> Option<Told> {
        self.parts[part]
            .end(Reason::component_failed(self.parts[part].name.clone(), error.clone()));
        let first = self.parts[part].starts == 1;
        let told = self.failed(part, error, After::Failed, first);
        self.course.started(part, Some(After::Failed));
        told.filter(|_| !self.course.is_held(part))
    }

    fn ended(&mut self, part: usize, ended: Ended) -> Option<Told> {
        let name = self.parts[part].name.clone();
        match ended {
            Ended::Failed(error) if !self.course.wanted()[part] => {
                self.failed_early(part, chain(error.as_ref()));
                None
            }
            Ended::Failed(error) => {
                let after = self.after_failure(part, self.parts[part].since().elapsed());
                self.course.stop_first(part, after);
                self.failed(part, chain(error.as_ref()), after, false)
            }
            Ended::Done => {
                tracing::info!(component = name, "done");
                self.course.done(part);
                self.notes.push((part, State::Done));
                None
            }
            Ended::StopApp => {
                self.course.done(part);
                self.notes.push((part, State::Done));
                Some(Told::Done(name))
            }
        }
    }

    /// Takes note that a part failed which is to stop anyway, mostly for what it needs.
    fn failed_early(&mut self, part: usize, error: String) {
        tracing::warn!(component = self.parts[part].name, error, "failed before it stopped");
        self.parts[part].last_error = Some(error);
        if self.ending.is_some() && self.setup.essential[part] {
            self.parts[part].cut_off = vec!["its work: it failed before".to_owned()];
        }
        // Should it be wanted again meanwhile.
        self.course.stop_first(part, After::Again);
    }

    /// What comes after a failure of a part that ran for so long.
    fn after_failure(&mut self, part: usize, ran: Duration) -> After {
        let part = &mut self.parts[part];
        let random = fastrand::f64();
        match part.policy.restart.and_then(|restart| part.streak.wait(restart, ran, random)) {
            Some(rest) => {
                part.rest = rest;
                After::Rest
            }
            None => After::Failed,
        }
    }

    /// Begins its rest, if it is to have one.
    fn rest(&self, part: usize) {
        if self.course.state(part) == State::Resting {
            self.parts[part].rest(&self.sender);
        }
    }

    fn failed(&mut self, part: usize, error: String, after: After, starting: bool) -> Option<Told> {
        let name = self.parts[part].name.clone();
        let last = after == After::Failed;
        tracing::warn!(component = name, error, last, "failed");
        self.parts[part].last_error = Some(error.clone());
        self.notes.push((part, if last { State::Failed } else { State::Resting }));
        (last && self.setup.essential[part]).then_some(Told::Failed { name, error, starting })
    }

    fn stopped(&mut self, part: usize, report: ComponentReport) -> Option<Told> {
        tell_stopped(&report);
        let left_behind = report.outcome == Outcome::Abandoned;
        self.end(part);
        self.parts[part].left_behind = left_behind;
        self.parts[part].stopped = Some(report);
        self.stopped.retain(|other| *other != part);
        self.stopped.push(part);
        let held = self.course.is_held(part);
        self.course.stopped(part, left_behind);
        self.rest(part);
        if !left_behind {
            self.notes.push((part, State::Stopped));
        }
        if !left_behind || self.ending.is_some() {
            return None;
        }
        let error = "it did not stop, and may still be at work".to_owned();
        // An operator who wanted it down sees that it is not, and decides.
        self.failed(part, error, After::Failed, false).filter(|_| !held)
    }
}

/// Tells the log and the metrics how a part stopped.
pub(super) fn tell_stopped(report: &ComponentReport) {
    let words = &*report.words;
    tracing::info!(component = report.name, outcome = ?report.outcome, words, "stopped");
    if let Some(instruments) = instruments() {
        instruments.drained(report);
    }
}
