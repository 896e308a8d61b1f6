//! Each kind of violation: a log that breaks exactly it, and one beside it that breaks nothing.

use super::super::{Answer, Cause, End, Kind, Promises, Record, Report};
use super::check;

/// Writes a log as the story it tells.
#[derive(Default)]
struct Story(Vec<Record>);

/// A message `key/sequence`.
fn split(id: &str) -> (String, u64) {
    let (key, sequence) = id.split_once('/').unwrap();
    (key.to_owned(), sequence.parse().unwrap())
}

impl Story {
    fn tried(mut self, id: &str) -> Self {
        let (key, sequence) = split(id);
        self.0.push(Record::Publishing { id: id.to_owned(), key: Some(key), sequence });
        self
    }

    fn answered(mut self, id: &str, outcome: Answer) -> Self {
        self.0.push(Record::Published { id: id.to_owned(), outcome });
        self
    }

    fn confirmed(self, id: &str) -> Self {
        self.tried(id).answered(id, Answer::Confirmed)
    }

    fn began(self, number: u64, id: &str) -> Self {
        self.began_as(number, id, 1)
    }

    fn began_as(mut self, number: u64, id: &str, attempt: u32) -> Self {
        let (instance, key) = ("one".to_owned(), Some(split(id).0));
        self.0.push(Record::Began { instance, number, id: id.to_owned(), key, attempt });
        self
    }

    fn ended(mut self, number: u64, end: End) -> Self {
        let (instance, id) = ("one".to_owned(), String::new());
        self.0.push(Record::Ended { instance, number, id, end });
        self
    }

    fn handled(self, number: u64, id: &str, end: End) -> Self {
        self.began(number, id).ended(number, end)
    }

    fn dead(mut self, id: &str, reason: Option<&str>, origin: Option<&str>) -> Self {
        let (reason, origin) = (reason.map(str::to_owned), origin.map(str::to_owned));
        self.0.push(Record::Dead { id: id.to_owned(), reason, origin });
        self
    }

    fn because(mut self, cause: Cause) -> Self {
        self.0.push(Record::Cause(cause));
        self
    }

    fn link_lost(self, unsettled: u32) -> Self {
        self.because(Cause::LinkLost { instance: "one".to_owned(), unsettled })
    }

    fn process_died(self, unsettled: u32) -> Self {
        self.because(Cause::ProcessDied { instance: "one".to_owned(), unsettled })
    }

    fn report(&self) -> Report {
        let strict = Promises::default().in_flight(2).attempts(3).key_order().one_of_a_key();
        check(&self.0, &strict)
    }

    #[track_caller]
    fn keeps_all(&self) {
        self.report().assert_clean();
    }

    /// There is one violation, of this kind, with these ids.
    #[track_caller]
    fn breaks(&self, kind: Kind, ids: &[&str]) -> String {
        let report = self.report();
        assert_eq!(report.violations.len(), 1, "{report}");
        assert_eq!(report.violations[0].kind, kind, "{report}");
        assert_eq!(report.violations[0].ids, ids, "{report}");
        report.to_string()
    }
}

#[test]
fn a_confirmed_message_that_nobody_saw_is_lost() {
    let text = Story::default().confirmed("a/0").breaks(Kind::Lost, &["a/0"]);
    assert_eq!(text.lines().count(), 2, "a summary and a line: {text}");
    assert!(text.contains("a/0: confirmed, and no handler saw it; promised: what was"), "{text}");
    Story::default().confirmed("a/0").handled(1, "a/0", End::Acked).keeps_all();
}

#[test]
fn a_confirmed_message_whose_handling_came_to_nothing_is_lost() {
    for end in [End::Released, End::Failed, End::Retried, End::Cut, End::DeadLettered] {
        let story = Story::default().confirmed("a/0").handled(1, "a/0", end);
        let text = story.breaks(Kind::Lost, &["a/0"]);
        assert!(text.contains(&format!("ended as {end:?}")), "{text}");
    }
    let open = Story::default().confirmed("a/0").began(1, "a/0");
    assert!(open.breaks(Kind::Lost, &["a/0"]).contains("is not over"));
}

#[test]
fn what_was_dropped_on_purpose_or_found_dead_is_not_lost() {
    Story::default().confirmed("a/0").handled(1, "a/0", End::Dropped).keeps_all();
    let failed = Story::default().confirmed("a/0").handled(1, "a/0", End::Failed);
    failed.dead("a/0", Some("out of stock"), Some("q")).keeps_all();
    // It could not be decoded: no handler saw it.
    let undecodable = Story::default().confirmed("a/0");
    undecodable.dead("a/0", Some("not JSON"), Some("q")).keeps_all();
}

#[test]
fn what_was_not_confirmed_may_vanish_or_show_up() {
    for answer in [Answer::Unknown, Answer::Nacked, Answer::Returned, Answer::NotSent] {
        Story::default().tried("a/0").answered("a/0", answer).keeps_all();
    }
    Story::default().tried("a/0").keeps_all();
    let recovered = Story::default().tried("a/0").answered("a/0", Answer::Unknown);
    let recovered = recovered.handled(1, "a/0", End::Acked);
    recovered.keeps_all();
    assert_eq!(recovered.report().summary.recovered, 1);
}

#[test]
fn a_handled_message_that_nobody_published_is_unexpected() {
    let story = Story::default().handled(1, "a/0", End::Acked);
    let text = story.breaks(Kind::Unexpected, &["a/0"]);
    assert!(text.contains("handled, and nobody published it"), "{text}");
    let dead = Story::default().dead("a/0", Some("why"), Some("q"));
    dead.breaks(Kind::Unexpected, &["a/0"]);
}

#[test]
fn a_handled_message_that_its_publisher_knows_to_be_nowhere_is_unexpected() {
    for answer in [Answer::Nacked, Answer::Returned, Answer::NotSent] {
        let story = Story::default().tried("a/0").answered("a/0", answer);
        story.handled(1, "a/0", End::Acked).breaks(Kind::Unexpected, &["a/0"]);
        // Of two tries the first was not answered.
        let story = Story::default().tried("a/0").tried("a/0").answered("a/0", answer);
        story.handled(1, "a/0", End::Acked).keeps_all();
    }
}

#[test]
fn a_message_that_comes_again_for_no_reason_is_a_duplicate() {
    let twice = || Story::default().confirmed("a/0").handled(1, "a/0", End::Acked);
    let text = twice().handled(2, "a/0", End::Acked).breaks(Kind::Duplicate, &["a/0"]);
    assert!(text.contains("handled 2 times, 1 of them without a cause"), "{text}");
    // What happens to the duplicate afterwards does not explain it.
    let released = twice().handled(2, "a/0", End::Released).handled(3, "a/0", End::Acked);
    released.breaks(Kind::Duplicate, &["a/0"]);
}

#[test]
fn each_end_that_is_none_explains_one_more_handling() {
    for end in [End::Released, End::Retried, End::Failed, End::Panicked, End::Cut] {
        let story = || Story::default().confirmed("a/0").handled(1, "a/0", end);
        story().handled(2, "a/0", End::Acked).keeps_all();
        let twice = story().handled(2, "a/0", End::Acked).handled(3, "a/0", End::Acked);
        twice.breaks(Kind::Duplicate, &["a/0"]);
    }
}

#[test]
fn the_failure_that_made_a_dead_letter_explains_nothing() {
    let story = Story::default().confirmed("a/0").handled(1, "a/0", End::Failed);
    let dead = story.dead("a/0", Some("why"), Some("q")).handled(2, "a/0", End::Acked);
    dead.breaks(Kind::Duplicate, &["a/0"]);
}

#[test]
fn a_handler_that_was_cut_by_its_timeout_may_have_made_the_dead_letter() {
    let failed = || Story::default().confirmed("a/0").handled(1, "a/0", End::Failed);
    let cut = failed().handled(2, "a/0", End::Cut);
    cut.dead("a/0", Some("failed twice"), Some("q")).keeps_all();
    let thrice = failed().handled(2, "a/0", End::Cut).handled(3, "a/0", End::Acked);
    thrice.dead("a/0", Some("failed twice"), Some("q")).breaks(Kind::Duplicate, &["a/0"]);
}

#[test]
fn a_repeated_publish_explains_what_comes_after_it() {
    let story = || Story::default().tried("a/0").handled(1, "a/0", End::Acked);
    story().tried("a/0").handled(2, "a/0", End::Acked).keeps_all();
    story().handled(2, "a/0", End::Acked).tried("a/0").breaks(Kind::Duplicate, &["a/0"]);
}

#[test]
fn a_cause_that_was_logged_for_a_message_explains_one_handling_of_it() {
    let id = || "a/0".to_owned();
    let causes = [
        Cause::SettlementLost { id: id() },
        Cause::PublishUnanswered { id: id() },
        Cause::Released { id: id() },
        Cause::Retried { id: id() },
    ];
    for cause in causes {
        let twice = || Story::default().confirmed("a/0").handled(1, "a/0", End::Acked);
        let twice = || twice().because(cause.clone()).handled(2, "a/0", End::Acked);
        twice().keeps_all();
        twice().handled(3, "a/0", End::Acked).breaks(Kind::Duplicate, &["a/0"]);
        let other = Story::default().confirmed("b/0").handled(7, "b/0", End::Acked);
        let other = other.handled(8, "b/0", End::Acked).because(cause.clone());
        other.handled(9, "a/0", End::Acked).tried("a/0").breaks(Kind::Duplicate, &["b/0"]);
    }
}

#[test]
fn the_summary_says_of_each_handling_again_what_explains_it() {
    let released = |story: Story, n| story.handled(n, "a/0", End::Released);
    let again = |story: Story, n| story.handled(n, "a/0", End::Acked);
    let story = (0..4).fold(Story::default().confirmed("a/0"), released);
    let story = (4..7).fold((0..3).fold(again(story, 10), |story, _| story.tried("a/0")), again);
    let logged = Cause::Released { id: "a/0".to_owned() };
    let story = (7..9).fold(story.because(logged.clone()).because(logged), again);
    let summary = again(story.link_lost(1), 9).report().summary;
    assert_eq!((summary.published, summary.tries, summary.again), (1, 4, 10));
    let causes = [summary.after_ends, summary.after_tries, summary.after_causes];
    assert_eq!((causes, summary.after_losses), ([4, 3, 2], 1));
}

#[test]
fn a_lost_link_explains_as_many_messages_as_were_unsettled_and_each_once() {
    let story = || {
        let handled = |story: Story, n: u64| {
            let id = format!("a/{n}");
            story.confirmed(&id).handled(n, &id, End::Acked)
        };
        (0..3).fold(Story::default(), handled).link_lost(2)
    };
    let two = || story().handled(11, "a/1", End::Acked).handled(12, "a/2", End::Acked);
    two().keeps_all();
    assert_eq!(two().report().summary.after_losses, 2);
    two().handled(10, "a/0", End::Acked).breaks(Kind::Duplicate, &["a/0"]);
    let same = story().handled(11, "a/1", End::Acked).handled(12, "a/1", End::Acked);
    same.breaks(Kind::Duplicate, &["a/1"]);
    let two_losses = story().link_lost(2).handled(11, "a/1", End::Acked);
    two_losses.handled(12, "a/1", End::Acked).keeps_all();
}

#[test]
fn a_lost_link_explains_a_message_that_waits_for_its_next_attempt_and_no_longer() {
    let handled = |story: Story, n: u64| {
        let id = format!("a/{n}");
        story.confirmed(&id).handled(10 + n, &id, End::Acked)
    };
    let failed = || Story::default().confirmed("z/0").handled(1, "z/0", End::Failed);
    // Both the waiting attempt and the broker's message come.
    let waiting = (0..9).fold(failed().link_lost(2), handled);
    waiting.handled(2, "z/0", End::Acked).handled(3, "z/0", End::Acked).keeps_all();
    let over = failed().handled(2, "z/0", End::Acked);
    let over = (0..9).fold(over, handled).link_lost(2);
    over.handled(3, "z/0", End::Acked).breaks(Kind::Duplicate, &["z/0"]);
}

#[test]
fn an_end_explains_nothing_that_began_before_it() {
    let story = Story::default().confirmed("a/0").began(1, "a/0").handled(2, "a/0", End::Acked);
    let story = story.ended(1, End::Released);
    let report = check(&story.0, &Promises::default());
    assert_eq!(report.of(Kind::Duplicate).count(), 1, "{report}");
}

#[test]
fn a_lost_link_explains_nothing_that_was_settled_long_before_or_long_after() {
    let handled = |story: Story, n: u64| {
        let id = format!("a/{n}");
        story.confirmed(&id).handled(n, &id, End::Acked)
    };
    let before = (0..5).fold(Story::default(), handled).link_lost(2);
    before.handled(9, "a/0", End::Acked).breaks(Kind::Duplicate, &["a/0"]);
    let after = (0..6).fold(Story::default().link_lost(2), handled);
    after.handled(9, "a/5", End::Acked).breaks(Kind::Duplicate, &["a/5"]);
    // It was noticed a little after it happened.
    let near = (0..3).fold(Story::default().link_lost(2), handled);
    near.handled(9, "a/2", End::Acked).keeps_all();
}

#[test]
fn a_lost_link_explains_what_was_under_way_however_long() {
    let story = Story::default().confirmed("z/0").began(1, "z/0");
    let handled = |story: Story, n: u64| {
        let id = format!("a/{n}");
        story.confirmed(&id).handled(10 + n, &id, End::Acked)
    };
    let story = (0..9).fold(story, handled).link_lost(1);
    story.ended(1, End::Acked).handled(2, "z/0", End::Acked).keeps_all();
}

#[test]
fn the_link_of_another_instance_explains_nothing() {
    let story = Story::default().confirmed("a/0").handled(1, "a/0", End::Acked);
    let story = story.because(Cause::LinkLost { instance: "other".to_owned(), unsettled: 9 });
    story.handled(2, "a/0", End::Acked).breaks(Kind::Duplicate, &["a/0"]);
}

#[test]
fn a_killed_process_ends_what_it_was_handling() {
    let story = Story::default().confirmed("a/0").began(1, "a/0").process_died(1);
    // The next process counts its handlings from the beginning.
    let story = story.began(1, "a/0").ended(1, End::Acked);
    story.keeps_all();
    let twice = story.process_died(1).handled(2, "a/0", End::Acked);
    twice.keeps_all();
    twice.handled(3, "a/0", End::Acked).breaks(Kind::Duplicate, &["a/0"]);
}

#[test]
fn a_killed_process_handles_nothing_any_more() {
    let published = Story::default().confirmed("a/0").confirmed("b/0").confirmed("c/0");
    let killed = published.began(1, "a/0").process_died(1).began(1, "b/0").began(2, "c/0");
    let killed = killed.ended(1, End::Acked).ended(2, End::Acked);
    killed.handled(3, "a/0", End::Acked).keeps_all();
}

#[test]
fn first_attempts_of_a_key_are_in_order_and_later_ones_need_not_be() {
    let published = || Story::default().confirmed("a/0").confirmed("a/1").confirmed("b/0");
    let wrong = published().handled(1, "a/1", End::Acked).handled(2, "b/0", End::Acked);
    wrong.handled(3, "a/0", End::Acked).breaks(Kind::KeyOrder, &["a/0", "a/1"]);
    let right = published().handled(1, "b/0", End::Acked).handled(2, "a/0", End::Released);
    right.handled(3, "a/1", End::Acked).handled(4, "a/0", End::Acked).keeps_all();
}

#[test]
fn two_messages_of_a_key_at_once_overlap() {
    let published = || Story::default().confirmed("a/0").confirmed("a/1").confirmed("b/0");
    let both = published().handled(3, "b/0", End::Acked).began(1, "a/0").began(2, "a/1");
    let both = both.ended(1, End::Acked).ended(2, End::Acked);
    both.breaks(Kind::KeyOverlap, &["a/0", "a/1"]);
    let other = published().began(1, "a/0").began(3, "b/0").ended(1, End::Acked);
    other.ended(3, End::Acked).handled(2, "a/1", End::Acked).keeps_all();
}

#[test]
fn a_handler_that_outlives_its_link_may_overlap_with_its_own_message() {
    let story = || Story::default().confirmed("a/0").began(1, "a/0");
    let over = |story: Story| story.began(2, "a/0").ended(1, End::Acked).ended(2, End::Acked);
    over(story().link_lost(1)).keeps_all();
    let id = "a/0".to_owned();
    let others = Cause::LinkLost { instance: "other".to_owned(), unsettled: 9 };
    let lost = || Cause::SettlementLost { id: id.clone() };
    over(story().because(lost()).because(others)).breaks(Kind::KeyOverlap, &["a/0", "a/0"]);
    over(story().because(lost())).breaks(Kind::KeyOverlap, &["a/0", "a/0"]);
}

#[test]
fn more_handlers_at_a_time_than_allowed_are_told_at_their_peak() {
    let published = || {
        let ids = ["a/0", "b/0", "c/0", "d/0"];
        ids.into_iter().fold(Story::default(), Story::confirmed)
    };
    let end = |story: Story, number| story.ended(number, End::Acked);
    let three = published().began(1, "a/0").began(2, "b/0").began(3, "c/0");
    // Then three again, which is no new peak.
    let three = three.ended(1, End::Acked).began(4, "d/0");
    let three = (2..=4).fold(three, end);
    let text = three.breaks(Kind::InFlight, &["a/0", "b/0", "c/0"]);
    assert!(text.contains("`one` handled 3 at a time, limit 2"), "{text}");
    let two = published().began(1, "a/0").began(2, "b/0").ended(1, End::Acked).began(3, "c/0");
    (2..=3).fold(two, end).handled(4, "d/0", End::Acked).keeps_all();
}

#[test]
fn an_attempt_above_the_limit_is_told() {
    let story = || Story::default().confirmed("a/0").began_as(1, "a/0", 3).ended(1, End::Failed);
    story().began_as(2, "a/0", 4).ended(2, End::Acked).breaks(Kind::Attempts, &["a/0"]);
    story().began_as(2, "a/0", 3).ended(2, End::Acked).keeps_all();
}

#[test]
fn a_dead_letter_without_reason_or_origin_is_told() {
    let story = || Story::default().confirmed("a/0").handled(1, "a/0", End::DeadLettered);
    for (reason, origin) in [(None, Some("q")), (Some("why"), None), (Some(" "), Some("q"))] {
        story().dead("a/0", reason, origin).breaks(Kind::DeadLetter, &["a/0"]);
    }
    story().dead("a/0", Some("why"), Some("q")).keeps_all();
}
