//! [`Course`]: where each part is, and what is to be done next. Nothing here waits or acts, so
//! every order of events can be tried.

use crate::graph::Graph;
use crate::status::State;

/// What is to be done with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Start(usize),
    /// It is being started, and is not wanted any more.
    Interrupt(usize),
    Stop(usize),
}

/// What comes after a part has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It starts again at once.
    Again,
    /// It waits, and starts again when [`Course::rested`] says so.
    Rest,
    /// It has failed for good.
    Failed,
}

/// Where the parts of an app are, and where they are to go.
///
/// A part is wanted while nothing is against it and all that it needs is wanted. [`Course::next`]
/// brings what is towards what is wanted: a part starts when all that it needs is up, and stops
/// when all that need it are down.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    graph: Graph,
    parts: Vec<Part>,
    stopping: bool,
    forced: bool,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    state: State,
    /// An operator stopped it.
    held: bool,
    /// It has to stop first, whatever is wanted of it then.
    after: Option<After>,
    interrupted: bool,
}

impl Course {
    pub(crate) fn new(graph: Graph) -> Self {
        let part = Part { state: State::Waiting, held: false, after: None, interrupted: false };
        let parts = vec![part; graph.len()];
        Self { graph, parts, stopping: false, forced: false }
    }

    pub(crate) fn state(&self, part: usize) -> State {
        self.parts[part].state
    }

    /// Whether it was being started when it was no longer wanted.
    pub(crate) fn is_interrupted(&self, part: usize) -> bool {
        self.parts[part].interrupted
    }

    pub(crate) fn is_held(&self, part: usize) -> bool {
        self.parts[part].held
    }

    /// Whether a part stays down until somebody asks for it: an operator stopped it or something
    /// that it needs, or that has failed for good, or all stops.
    pub(crate) fn is_barred(&self, part: usize) -> bool {
        let bars = |part: usize| {
            let Part { state, held, after, .. } = self.parts[part];
            held || state == State::Failed || after == Some(After::Failed)
        };
        self.stopping || self.graph.all_needs(part).into_iter().any(bars)
    }

    /// Why a part is not wanted: the first of it and its needs that something is against, and
    /// whether that is a failure.
    pub(crate) fn culprit(&self, part: usize) -> Option<(usize, bool)> {
        self.graph.all_needs(part).into_iter().find_map(|part| {
            let Part { state, held, after, .. } = self.parts[part];
            let failed = matches!(after, Some(After::Rest | After::Failed)) || state.is_lost();
            (failed || held || after.is_some()).then_some((part, failed))
        })
    }

    /// Wants nothing any more.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Stops all at once, whoever needs whom.
    pub(crate) fn force(&mut self) {
        (self.stopping, self.forced) = (true, true);
    }

    /// Whether all has stopped.
    pub(crate) fn is_over(&self) -> bool {
        self.parts.iter().all(|part| part.state.is_down())
    }

    /// What is to be done now. Each act is returned once.
    pub(crate) fn next(&mut self) -> Vec<Act> {
        let wanted = self.wanted();
        (0..self.parts.len()).filter_map(|part| self.act(part, wanted[part])).collect()
    }

    fn act(&mut self, part: usize, wanted: bool) -> Option<Act> {
        let Part { state, interrupted, .. } = self.parts[part];
        match state {
            State::Waiting | State::Stopped if wanted && self.needs_are_up(part) => {
                self.parts[part].state = State::Starting;
                Some(Act::Start(part))
            }
            State::Starting if !wanted && !interrupted => {
                self.parts[part].interrupted = true;
                Some(Act::Interrupt(part))
            }
            State::Running | State::Done if !wanted && self.is_free(part) => {
                self.parts[part].state = State::Stopping;
                Some(Act::Stop(part))
            }
            _ => None,
        }
    }

    /// A part has started, or has not. What comes of a failure is in `after`.
    pub(crate) fn started(&mut self, part: usize, failure: Option<After>) {
        let part = &mut self.parts[part];
        part.interrupted = false;
        if failure.is_some() {
            // It is down already.
            part.after = None;
        }
        part.state = match failure {
            None => State::Running,
            Some(after) => after.state(),
        };
    }

    /// A part has ended by itself: its work is done.
    pub(crate) fn done(&mut self, part: usize) {
        if self.parts[part].state == State::Running {
            self.parts[part].state = State::Done;
        }
    }

    /// A part is to stop, and so are those that need it; then comes `after`.
    pub(crate) fn stop_first(&mut self, part: usize, after: After) {
        let part = &mut self.parts[part];
        match part.state {
            State::Running | State::Done => part.after = Some(after),
            // It is interrupted.
            State::Starting if after == After::Again => part.after = Some(after),
            state if state.is_lost() && after == After::Again => part.state = State::Waiting,
            _ => {}
        }
    }

    /// A part has stopped, or was left behind: then it may still be at work, and never starts
    /// again.
    pub(crate) fn stopped(&mut self, part: usize, left_behind: bool) {
        let part = &mut self.parts[part];
        let after = part.after.take();
        part.state = match after {
            _ if left_behind => State::Failed,
            None => State::Stopped,
            Some(after) => after.state(),
        };
    }

    /// A part has waited long enough.
    pub(crate) fn rested(&mut self, part: usize) {
        if self.parts[part].state == State::Resting {
            self.parts[part].state = State::Waiting;
        }
    }

    /// An operator wants a part to stay down, or not any more. Those that need it follow.
    pub(crate) fn hold(&mut self, part: usize) {
        self.parts[part].held = true;
    }

    /// Lets a part run, and all that it needs. One that had failed is tried again.
    pub(crate) fn release(&mut self, part: usize) {
        for part in self.graph.all_needs(part) {
            let part = &mut self.parts[part];
            part.held = false;
            if part.state.is_lost() {
                part.state = State::Waiting;
            }
        }
    }

    /// For each part, whether it is wanted.
    pub(crate) fn wanted(&self) -> Vec<bool> {
        let mut wanted: Vec<bool> = Vec::with_capacity(self.parts.len());
        for (index, part) in self.parts.iter().enumerate() {
            let against = self.stopping || part.held || part.after.is_some();
            let lost = part.state.is_lost();
            let needs = self.graph.needs(index).iter().all(|need| wanted[*need]);
            wanted.push(needs && !against && !lost);
        }
        wanted
    }

    fn needs_are_up(&self, part: usize) -> bool {
        self.graph.needs(part).iter().all(|need| self.parts[*need].state.is_up())
    }

    fn is_free(&self, part: usize) -> bool {
        self.forced || self.graph.dependents(part).all(|other| self.parts[other].state.is_down())
    }
}

impl After {
    fn state(self) -> State {
        match self {
            Self::Again => State::Waiting,
            Self::Rest => State::Resting,
            Self::Failed => State::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
