//! Every order of events: what is started and stopped keeps the order of the needs, and in the end
//! everything is where it is wanted.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Something that happens to an app. Numbers choose a part, modulo how many there are.
#[derive(Clone, Copy, Debug)]
enum Event {
    Hold(usize),
    Release(usize),
    /// It is to stop first: it failed, or is bounced.
    Fail(usize, After),
    Done(usize),
    Rested(usize),
    /// A start or a stop under way is over; whether a start went well, or a stop was a clean one.
    Over(usize, bool),
    Stop,
    Force,
}

/// An app as its components see it.
struct World {
    course: Course,
    graph: Graph,
    /// What each part has been told to do, and has not done yet.
    pending: Vec<Option<Act>>,
    up: Vec<bool>,
    forced: bool,
}

impl World {
    fn new(needs: &[Vec<usize>]) -> Self {
        let mut graph = Graph::default();
        for (index, needs) in needs.iter().enumerate() {
            let earlier = needs.iter().filter(|_| index > 0).map(|need| need % index.max(1));
            graph.add(earlier.collect());
        }
        let (pending, up) = (vec![None; graph.len()], vec![false; graph.len()]);
        Self { course: Course::new(graph.clone()), graph, pending, up, forced: false }
    }

    fn happen(&mut self, event: Event) {
        let count = self.graph.len();
        match event {
            Event::Hold(part) => self.course.hold(part % count),
            Event::Release(part) => self.course.release(part % count),
            Event::Fail(part, after) => self.course.stop_first(part % count, after),
            Event::Done(part) => self.course.done(part % count),
            Event::Rested(part) => self.course.rested(part % count),
            Event::Over(part, well) => self.over(part % count, well),
            Event::Stop => self.course.stop(),
            Event::Force => {
                self.forced = true;
                self.course.force();
            }
        }
        self.go_on();
    }

    fn over(&mut self, part: usize, well: bool) {
        match self.pending[part].take() {
            Some(Act::Start(_)) => {
                self.up[part] = well;
                self.course.started(part, (!well).then_some(After::Rest));
            }
            // It may have been up just before it was told.
            Some(Act::Interrupt(_)) => {
                self.up[part] = well;
                self.course.started(part, (!well).then_some(After::Again));
            }
            Some(Act::Stop(_)) => {
                self.up[part] = false;
                self.course.stopped(part, !well);
            }
            None => {}
        }
    }

    /// Begins what is next, and looks whether it may.
    fn go_on(&mut self) {
        for act in self.course.next() {
            match act {
                Act::Start(part) => {
                    assert_eq!((self.pending[part], self.up[part]), (None, false), "{part} twice");
                    for need in self.graph.needs(part) {
                        assert!(self.up[*need], "{part} starts without {need}");
                        let leaving = matches!(self.pending[*need], Some(Act::Stop(_)));
                        assert!(!leaving, "{part} starts while {need} stops");
                    }
                    self.pending[part] = Some(act);
                }
                Act::Interrupt(part) => {
                    assert_eq!(self.pending[part], Some(Act::Start(part)));
                    self.pending[part] = Some(act);
                }
                Act::Stop(part) => {
                    assert_eq!((self.pending[part], self.up[part]), (None, true));
                    for other in self.graph.dependents(part).filter(|_| !self.forced) {
                        assert!(!self.up[other], "{part} stops before {other}");
                        assert_eq!(self.pending[other], None, "{part} stops before {other}");
                    }
                    self.pending[part] = Some(act);
                }
            }
        }
    }

    /// Lets everything that is under way come to its end, and rests be over.
    fn settle(&mut self) {
        while let Some(part) = self.pending.iter().position(Option::is_some) {
            self.happen(Event::Over(part, true));
            (0..self.graph.len()).for_each(|part| self.happen(Event::Rested(part)));
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let after = prop_oneof![Just(After::Again), Just(After::Rest), Just(After::Failed)];
    let part = 0..8_usize;
    prop_oneof![
        2 => part.clone().prop_map(Event::Hold),
        2 => part.clone().prop_map(Event::Release),
        3 => (part.clone(), after).prop_map(|(part, after)| Event::Fail(part, after)),
        1 => part.clone().prop_map(Event::Done),
        2 => part.clone().prop_map(Event::Rested),
        12 => (part, prop::bool::weighted(0.8)).prop_map(|(part, well)| Event::Over(part, well)),
        1 => Just(Event::Stop),
        1 => Just(Event::Force),
    ]
}

fn events(with_end: bool) -> impl Strategy<Value = Vec<Event>> {
    let ends = |event: &Event| matches!(event, Event::Stop | Event::Force);
    vec(event(), 0..60).prop_map(move |mut events| {
        events.retain(|event| with_end || !ends(event));
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_needs_are_up_first_and_down_last(
        needs in vec(vec(0..8_usize, 0..3), 1..8),
        events in events(true),
    ) {
        let mut world = World::new(&needs);
        world.go_on();
        events.into_iter().for_each(|event| world.happen(event));
    }

    #[test]
    fn in_the_end_all_is_up_but_what_was_stopped_or_has_failed_and_what_needs_it(
        needs in vec(vec(0..8_usize, 0..3), 1..8),
        events in events(false),
    ) {
        let mut world = World::new(&needs);
        world.go_on();
        events.into_iter().for_each(|event| world.happen(event));
        world.settle();
        (0..world.graph.len()).for_each(|part| world.happen(Event::Rested(part)));
        world.settle();
        for part in 0..world.graph.len() {
            let kept_down = world.course.culprit(part).is_some();
            assert_eq!(world.up[part], !kept_down, "part {part} in {:?}", world.course);
        }
    }

    #[test]
    fn told_to_stop_all_is_down_in_the_end(
        needs in vec(vec(0..8_usize, 0..3), 1..8),
        before in events(false),
        after in events(true),
    ) {
        let mut world = World::new(&needs);
        world.go_on();
        before.into_iter().for_each(|event| world.happen(event));
        world.happen(Event::Stop);
        after.into_iter().for_each(|event| world.happen(event));
        world.settle();
        assert!(world.course.is_over());
        assert_eq!(world.up, vec![false; world.graph.len()]);
    }
}

#[test]
fn a_part_that_failed_starts_again_after_those_that_need_it_have_stopped() {
    let mut world = World::new(&[vec![], vec![0]]);
    world.go_on();
    (0..2).for_each(|part| world.happen(Event::Over(part, true)));
    world.happen(Event::Fail(0, After::Rest));
    assert_eq!(world.pending, [None, Some(Act::Stop(1))]);
    world.happen(Event::Over(1, true));
    assert_eq!(world.pending, [Some(Act::Stop(0)), None]);
    world.happen(Event::Over(0, true));
    assert_eq!((world.course.state(0), world.pending[0]), (State::Resting, None));
    world.happen(Event::Rested(0));
    assert_eq!(world.pending, [Some(Act::Start(0)), None]);
}

#[test]
fn what_was_left_behind_is_not_started_again() {
    let mut world = World::new(&[vec![]]);
    world.go_on();
    world.happen(Event::Over(0, true));
    world.happen(Event::Fail(0, After::Again));
    world.happen(Event::Over(0, false));
    assert_eq!((world.course.state(0), world.pending[0]), (State::Failed, None));
}

#[test]
fn a_start_that_was_interrupted_once_may_fail_like_any_other() {
    let mut world = World::new(&[vec![]]);
    world.go_on();
    world.happen(Event::Hold(0));
    assert_eq!(world.pending, [Some(Act::Interrupt(0))]);
    world.happen(Event::Over(0, false));
    world.happen(Event::Release(0));
    assert_eq!(world.pending, [Some(Act::Start(0))]);
    world.happen(Event::Over(0, false));
    assert_eq!(world.course.state(0), State::Resting);
}
