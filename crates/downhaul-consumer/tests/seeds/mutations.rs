//! Planted bugs are found out: a run that cannot fail proves nothing.

use std::ops::Range;
use std::time::Duration;

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_testkit::oracle::Kind;

use crate::bugs::{Bug, Buggy, Forgets, MarksFirst};
use crate::run::{Outcome, run};
use crate::scene::Scene;

/// Not one of those that the other tests play. The bug that shows most rarely, a silent source, is
/// found by one in 25.
const SEEDS: Range<u64> = 100_000..100_100;

/// With the bug, at least one of a few seeds is found to be wrong in this way; without it, all are
/// clean.
#[track_caller]
fn is_caught(
    with: impl Fn(Scene) -> Scene,
    without: impl Fn(Scene) -> Scene,
    is_it: impl Fn(&Outcome) -> bool,
) {
    for seed in SEEDS {
        let clean = run(&without(Scene::of(seed)));
        assert!(clean.is_clean(), "without the bug: {clean}");
    }
    let mut outcomes = SEEDS.map(|seed| run(&with(Scene::of(seed))));
    let caught = outcomes.find(|outcome| !outcome.is_clean() && is_it(outcome));
    assert!(caught.is_some(), "no seed of {SEEDS:?} has found it");
}

#[track_caller]
fn breaks(bug: Bug, kind: Kind) {
    let none = |scene: Scene| scene.wrapped(Buggy::with(Bug::None));
    let is_it = |outcome: &Outcome| outcome.report.of(kind).next().is_some();
    is_caught(|scene| scene.wrapped(Buggy::with(bug)), none, is_it);
}

#[track_caller]
fn does_not_go_on(bug: Bug) {
    let none = |scene: Scene| scene.wrapped(Buggy::with(Bug::None));
    let is_it = |outcome: &Outcome| says(outcome, "it does not go on");
    is_caught(|scene| scene.wrapped(Buggy::with(bug)), none, is_it);
}

fn says(outcome: &Outcome, words: &str) -> bool {
    outcome.wrongs.iter().any(|wrong| wrong.contains(words))
}

#[test]
fn to_acknowledge_before_the_handler_loses_messages() {
    breaks(Bug::AckFirst, Kind::Lost);
}

#[test]
fn to_acknowledge_all_below_one_loses_messages() {
    breaks(Bug::AckAllBelow, Kind::Lost);
}

#[test]
fn to_settle_on_the_new_link_loses_messages() {
    breaks(Bug::SettleOnNewLink, Kind::Lost);
}

#[test]
fn to_acknowledge_what_is_released_loses_messages() {
    breaks(Bug::ForgetReleases, Kind::Lost);
}

#[test]
fn to_confirm_before_the_broker_has_answered_loses_messages() {
    breaks(Bug::ConfirmFirst, Kind::Lost);
}

#[test]
fn to_count_a_release_as_a_retry_makes_too_many_attempts() {
    breaks(Bug::CountReleases, Kind::Attempts);
}

#[test]
fn to_hand_a_message_out_twice_is_a_duplicate_without_a_cause() {
    breaks(Bug::DeliverTwice, Kind::Duplicate);
}

#[test]
fn to_turn_deliveries_round_breaks_the_order_of_keys() {
    breaks(Bug::LastFirst, Kind::KeyOrder);
}

#[test]
fn dead_letters_without_a_reason_are_told() {
    breaks(Bug::NamelessLetters, Kind::DeadLetter);
}

#[test]
fn to_forget_a_delivery_holds_the_queue_up() {
    does_not_go_on(Bug::ForgetDeliveries);
}

#[test]
fn a_source_that_is_silent_about_its_lost_link_holds_the_queue_up() {
    does_not_go_on(Bug::SilentSource);
}

#[test]
fn to_mark_an_id_before_success_loses_messages() {
    is_caught(
        |scene| scene.deduped(MarksFirst::default()),
        |scene| scene.deduped(MemoryInbox::new()),
        |outcome| outcome.report.of(Kind::Lost).next().is_some(),
    );
}

#[test]
fn an_inbox_that_forgets_lets_messages_be_handled_again() {
    is_caught(
        |scene| scene.deduped(Forgets::default()),
        |scene| scene.deduped(MemoryInbox::new()),
        |outcome| says(outcome, "though it was marked as done"),
    );
}

#[test]
fn to_cancel_first_when_stopping_cuts_handlers_short() {
    is_caught(
        |scene| scene.changed(|consumer| consumer.drain_budget(Duration::ZERO)),
        |scene| scene,
        |outcome| says(outcome, "was cut short"),
    );
}

#[test]
fn to_handle_more_at_a_time_than_promised_is_told() {
    is_caught(
        |scene| scene.most(1).changed(|consumer| consumer.concurrency(2)),
        |scene| scene.most(1),
        |outcome| outcome.report.of(Kind::InFlight).next().is_some(),
    );
}

#[test]
fn a_consumer_that_is_not_ordered_overlaps_in_its_keys() {
    // Promised, and not done: the change makes a consumer anew that keeps no order.
    is_caught(
        |scene| {
            scene.most(6).in_order(true).changed(|consumer| consumer.ordered_by(|_| None::<u8>))
        },
        |scene| scene.most(6).in_order(true),
        |outcome| outcome.report.of(Kind::KeyOverlap).next().is_some(),
    );
}
