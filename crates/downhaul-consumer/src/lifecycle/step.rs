//! [`step`]: the whole lifecycle of a consumer as one function of what is so.
//!
//! It has no memory and no clock. The engine asks it after everything that happens, until the phase
//! is its own answer, and does what the phase is for.

use crate::lifecycle::{State, Wanted};

/// Where a consumer is in its life. Finer than its [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It does nothing and holds nothing.
    Stopped,
    /// It could not start, and trying again without a change cannot help.
    Failed,
    /// It opens its first source.
    Starting,
    /// It takes messages; when its link is lost, it opens another.
    Running,
    /// It takes nothing, and stays ready.
    Paused,
    /// It takes nothing and finishes what is begun, within the drain budget.
    Draining,
    /// The budget is over: handlers are told to stop, within the cancel grace.
    Cancelling,
    /// It says goodbye to the broker.
    Closing,
}

/// What is so at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// What it was last asked to be.
    pub(crate) wanted: Wanted,
    /// It was asked to begin anew since the session began.
    pub(crate) restart: bool,
    /// There is a wish that a failed consumer has not tried to fulfil.
    pub(crate) new_wish: bool,
    /// The context that it lives under drains or has ended.
    pub(crate) leaving: bool,
    /// A source was opened in this session.
    pub(crate) opened: bool,
    /// A source cannot be opened, for good.
    pub(crate) hopeless: bool,
    /// Something is being handled, or buffered and still to be handled.
    pub(crate) busy: bool,
    /// The session's context has ended: the drain budget is over, or was cut short.
    pub(crate) ended: bool,
    /// The cancel grace is over.
    pub(crate) grace_over: bool,
    /// The source is closed.
    pub(crate) closed: bool,
}

impl Facts {
    fn must_stop(&self) -> bool {
        self.leaving || self.wanted.is_stop() || self.restart
    }
}

/// The phase that follows from where it is and what is so.
pub(crate) fn step(phase: Phase, facts: &Facts) -> Phase {
    use Phase::{Cancelling, Closing, Draining, Failed, Paused, Running, Starting, Stopped};
    match phase {
        Stopped | Failed if facts.leaving => Stopped,
        Stopped if facts.wanted.is_stop() => Stopped,
        Stopped => Starting,
        Failed if facts.wanted.is_stop() && facts.new_wish => Stopped,
        Failed if facts.new_wish => Starting,
        Failed => Failed,
        Starting | Running | Paused if facts.must_stop() || facts.hopeless => Draining,
        Starting if !facts.opened => Starting,
        Starting | Running | Paused if facts.wanted == Wanted::Pause => Paused,
        Starting | Running | Paused => Running,
        Draining | Cancelling if !facts.busy => Closing,
        Draining if facts.ended => Cancelling,
        Draining => Draining,
        Cancelling if facts.grace_over => Closing,
        Cancelling => Cancelling,
        Closing if !facts.closed => Closing,
        Closing if facts.hopeless => Failed,
        Closing => Stopped,
    }
}

impl Phase {
    /// What is shown of it.
    pub(crate) fn state(self) -> State {
        match self {
            Self::Stopped => State::Stopped,
            Self::Failed => State::Failed,
            Self::Starting => State::Starting,
            Self::Running => State::Running,
            Self::Paused => State::Paused,
            Self::Draining | Self::Cancelling => State::Draining,
            Self::Closing => State::Closing,
        }
    }

    /// Whether a source is wanted.
    pub(crate) fn wants_source(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused)
    }
}

#[cfg(test)]
mod tests {
    use super::Phase::{Cancelling, Closing, Draining, Failed, Paused, Running, Starting, Stopped};
    use super::*;

    const PHASES: [Phase; 8] =
        [Stopped, Failed, Starting, Running, Paused, Draining, Cancelling, Closing];
    const WISHES: [Wanted; 5] =
        [Wanted::Run, Wanted::Pause, Wanted::Drain, Wanted::Stop, Wanted::Abort];

    const RUN: Facts = Facts {
        wanted: Wanted::Run,
        restart: false,
        new_wish: false,
        leaving: false,
        opened: true,
        hopeless: false,
        busy: true,
        ended: false,
        grace_over: false,
        closed: false,
    };
    const PAUSE: Facts = Facts { wanted: Wanted::Pause, ..RUN };
    const STOP: Facts = Facts { wanted: Wanted::Stop, ..RUN };

    /// A phase, what is so, and the phase that follows.
    #[rustfmt::skip]
    const TABLE: &[(Phase, Facts, Phase)] = &[
        // Starting up.
        (Stopped,    RUN,                                            Starting),
        (Stopped,    PAUSE,                                          Starting),
        (Stopped,    STOP,                                           Stopped),
        (Starting,   Facts { opened: false, ..RUN },                 Starting),
        (Starting,   Facts { opened: false, ..PAUSE },               Starting),
        (Starting,   RUN,                                            Running),
        (Starting,   PAUSE,                                          Paused),
        (Starting,   Facts { opened: false, ..STOP },                Draining),
        (Starting,   Facts { opened: false, hopeless: true, ..RUN }, Draining),
        // Pausing and going on.
        (Running,    PAUSE,                                          Paused),
        (Paused,     RUN,                                            Running),
        (Paused,     PAUSE,                                          Paused),
        (Running,    RUN,                                            Running),
        // Stopping, for every reason there is.
        (Running,    STOP,                                           Draining),
        (Paused,     STOP,                                           Draining),
        (Running,    Facts { wanted: Wanted::Drain, ..RUN },         Draining),
        (Running,    Facts { wanted: Wanted::Abort, ..RUN },         Draining),
        (Running,    Facts { leaving: true, ..RUN },                 Draining),
        (Paused,     Facts { leaving: true, ..PAUSE },               Draining),
        (Running,    Facts { restart: true, ..RUN },                 Draining),
        (Running,    Facts { hopeless: true, ..RUN },                Draining),
        // The stages of a stop.
        (Draining,   STOP,                                           Draining),
        (Draining,   RUN,                                            Draining),
        (Draining,   Facts { busy: false, ..STOP },                  Closing),
        (Draining,   Facts { ended: true, ..STOP },                  Cancelling),
        (Draining,   Facts { ended: true, busy: false, ..STOP },     Closing),
        (Cancelling, Facts { ended: true, ..STOP },                  Cancelling),
        (Cancelling, Facts { ended: true, busy: false, ..STOP },     Closing),
        (Cancelling, Facts { grace_over: true, ..STOP },             Closing),
        (Closing,    STOP,                                           Closing),
        (Closing,    Facts { closed: true, ..STOP },                 Stopped),
        (Closing,    Facts { closed: true, ..RUN },                  Stopped),
        (Closing,    Facts { closed: true, hopeless: true, ..RUN },  Failed),
        // After a failure.
        (Failed,     RUN,                                            Failed),
        (Failed,     Facts { new_wish: true, ..RUN },                Starting),
        (Failed,     Facts { new_wish: true, ..STOP },               Stopped),
        (Failed,     Facts { leaving: true, ..RUN },                 Stopped),
    ];

    #[test]
    fn each_row_of_the_table_holds() {
        for (phase, facts, next) in TABLE {
            assert_eq!(step(*phase, facts), *next, "from {phase:?} with {facts:?}");
        }
    }

    /// Every combination of facts.
    fn all_facts() -> impl Iterator<Item = Facts> {
        WISHES.into_iter().flat_map(|wanted| {
            (0..1_u32 << 9).map(move |bits| {
                let is = |bit: u32| bits & (1 << bit) != 0;
                Facts {
                    wanted,
                    restart: is(0),
                    new_wish: is(1),
                    leaving: is(2),
                    opened: is(3),
                    hopeless: is(4),
                    busy: is(5),
                    ended: is(6),
                    grace_over: is(7),
                    closed: is(8),
                }
            })
        })
    }

    #[test]
    fn whatever_is_so_it_comes_to_rest() {
        for facts in all_facts() {
            for from in PHASES {
                // Facts that the phases change themselves: what is closed is closed for the
                // session that ends, and a new one begins with nothing.
                let mut phase = from;
                for _ in 0..PHASES.len() {
                    phase = step(phase, &facts);
                    if phase == Starting || phase == step(phase, &facts) {
                        break;
                    }
                }
                assert!(
                    phase == Starting || phase == step(phase, &facts),
                    "from {from:?} with {facts:?}"
                );
            }
        }
    }

    #[test]
    fn a_consumer_that_must_stop_never_takes_messages_again_before_it_has() {
        for facts in all_facts().filter(Facts::must_stop) {
            for from in PHASES {
                let next = step(from, &facts);
                assert!(!matches!(next, Running | Paused), "{from:?} to {next:?} with {facts:?}");
            }
        }
    }

    #[test]
    fn nothing_is_closed_while_it_is_busy_and_has_time() {
        for facts in all_facts().filter(|facts| facts.busy && !facts.grace_over) {
            for from in [Starting, Running, Paused, Draining, Cancelling] {
                assert_ne!(step(from, &facts), Closing, "from {from:?} with {facts:?}");
            }
        }
    }

    #[test]
    fn who_holds_a_source_goes_by_closing_to_rest() {
        for facts in all_facts() {
            for from in [Starting, Running, Paused, Draining, Cancelling] {
                let next = step(from, &facts);
                assert!(!matches!(next, Stopped | Failed), "{from:?} to {next:?} with {facts:?}");
            }
        }
    }
}
