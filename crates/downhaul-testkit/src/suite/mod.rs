//! The conformance suite: what every broker must do, as scenarios over the public interface.
//!
//! A backend calls [`conformance!`](crate::conformance) with an expression that makes its
//! [`Harness`]; each scenario becomes a test of its own. A scenario that needs what a broker does
//! not [declare](Broker::capabilities), or what its harness [cannot do](Capabilities), is skipped,
//! and says so.

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a scenario panics where a broker does not conform: that is how it tells"
)]

pub mod crowd;
pub mod engine;
mod fixture;
pub mod lanes;
pub mod lifecycle;
pub mod link;
pub mod ordering;
pub mod publishing;
pub mod settlement;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::Broker;

pub use self::fixture::{Fixture, Seen};

/// How long a scenario may take before it counts as hung. A group of three takes half a minute with
/// a stand-in for Kafka that is asked for nothing else, and more beside fifty other scenarios.
const PATIENCE: Duration = Duration::from_secs(180);

/// A broker under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The broker.
    fn broker(&self) -> Arc<dyn Broker>;

    /// What the harness can do to the broker.
    fn capabilities(&self) -> Capabilities;

    /// Cuts every link of the broker's clients, as a restart does. Called only where the
    /// capabilities say so.
    async fn cut(&self);
}

/// What scenarios may need of a harness. What they need of a broker, the broker
/// [says itself](Broker::capabilities). A missing one is a printed skip.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Harness::cut`] works.
    pub cut: bool,
    /// A topic that nobody has made can be told from one that is there: some brokers make whatever
    /// topic they are asked for.
    pub missing_topics: bool,
    /// What a source leaves when it is closed goes to the places where it was.
    pub places: bool,
    /// There is a largest message, and headers of less than two megabytes make one that is larger.
    pub largest: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self { cut: true, missing_topics: true, places: true, largest: true };
}

/// Runs the scenario of this name against a harness, within patience.
///
/// # Panics
///
/// If the scenario does, or if it hangs.
pub async fn run<H: Harness, F: Future<Output = ()>>(
    harness: H,
    name: &'static str,
    scenario: impl FnOnce(Fixture<H>) -> F,
) {
    let outcome = tokio::time::timeout(PATIENCE, scenario(Fixture::new(harness, name))).await;
    assert!(outcome.is_ok(), "the scenario hung for {PATIENCE:?}");
}

/// Makes a test of every scenario; the expression makes a [`Harness`](crate::suite::Harness) and
/// may await.
#[macro_export]
macro_rules! conformance {
    ($harness:expr) => {
        $crate::conformance! { @tests $harness;
            settlement: a_released_message_comes_again,
            settlement: a_message_that_is_released_again_pauses_first_and_is_not_counted,
            settlement: a_message_that_keeps_failing_is_a_dead_letter_after_its_attempts,
            settlement: a_message_that_cannot_be_decoded_is_a_dead_letter,
            settlement: a_panic_is_a_dead_letter,
            settlement: a_permanent_failure_is_a_dead_letter_at_once,
            settlement: a_message_as_large_as_there_can_be_becomes_a_dead_letter,
            settlement: a_message_as_large_as_there_can_be_is_tried_again,
            settlement: a_parked_retry_comes_back_to_its_own_queue_alone,
            settlement: what_is_no_text_is_kept_by_retries_and_dead_letters,
            settlement: what_comes_back_tells_where_and_when_it_was_published_first,
            settlement: who_looks_at_dead_letters_declares_nothing_for_them,
            settlement: a_message_of_a_topic_begins_with_its_first_attempt,
            settlement: what_a_handler_emits_is_confirmed_before_the_ack,
            settlement: a_delivery_is_settled_once,
            settlement: what_is_unfinished_comes_again_whatever_was_acknowledged_around_it,
            publishing: publishes_before_the_first_delivery_are_kept,
            publishing: each_queue_of_a_topic_gets_its_own_copy,
            publishing: a_message_no_queue_wants_is_returned,
            publishing: an_optional_message_no_queue_wants_is_no_failure,
            publishing: a_delayed_message_comes_later,
            publishing: the_request_id_travels_from_publisher_to_dead_letter,
            publishing: many_receipts_under_way_resolve_once_each,
            publishing: prefetch_bounds_what_is_unsettled,
            publishing: a_prefetch_can_be_changed,
            lifecycle: a_paused_consumer_starts_nothing,
            lifecycle: a_paused_consumer_resumes,
            lifecycle: a_stopped_consumer_starts_again,
            lifecycle: stopping_finishes_what_is_begun_and_releases_the_rest,
            lifecycle: draining_finishes_all_that_has_arrived,
            lifecycle: a_handler_cancelled_by_stopping_is_released_not_retried,
            lifecycle: a_handler_that_ignores_its_end_is_dropped_and_its_message_comes_again,
            lifecycle: a_consumer_can_be_stopped_by_its_own_handler,
            lifecycle: concurrency_is_reached_and_never_exceeded,
            crowd: what_many_publish_is_handled_once_by_many,
            crowd: consumers_that_come_and_go_lose_nothing,
            crowd: a_message_arrives_as_it_was_published,
            crowd: messages_of_one_topic_do_not_reach_another,
            crowd: a_publisher_that_closes_loses_nothing,
            engine: each_message_of_a_batch_is_settled_by_itself,
            engine: a_duplicate_is_acknowledged_and_not_handled,
            engine: dead_letters_can_be_put_back,
            engine: a_message_that_has_expired_is_a_dead_letter,
            engine: concurrency_changes_while_messages_flow,
            engine: aborting_gives_back_what_is_begun,
            engine: the_context_of_a_handler_ends_with_its_attempt,
            link: a_lost_link_loses_no_message,
            link: a_verdict_after_the_link_was_lost_is_counted_as_lost,
            ordering: messages_of_a_key_come_in_their_order,
            ordering: messages_of_a_key_keep_their_order_over_a_stop,
            ordering: messages_of_a_key_are_never_handled_at_the_same_time,
            ordering: a_slow_key_does_not_hold_up_the_others,
            lanes: a_lane_that_moves_is_finished_first,
            lanes: what_is_finished_of_a_lane_does_not_come_again_when_the_lane_moves,
            lanes: a_lane_that_is_to_go_delivers_nothing_more,
            lanes: a_queue_that_is_made_later_gets_what_was_published_before,
        }
    };
    (@tests $harness:expr; $($module:ident: $scenario:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                let scenario = $crate::suite::$module::$scenario;
                $crate::suite::run($harness, stringify!($scenario), scenario).await;
            }
        )+
    };
}
