//! Tasks that are ended together, waited for, and named when they do not stop.
//!
//! Behaviours that other suites check, and where they are checked here:
//!
//! | what others check | here |
//! |---|---|
//! | errgroup 135 | waiting gives the first error |
//! | | `failing::the_first_failure_in_time_is_the_first_in_the_report` |
//! | errgroup 136 | after the wait the context is done, also without an error |
//! | | `joining::the_context_has_ended_after_a_join_also_without_a_failure` |
//! | errgroup 137 | a try fails at the limit and works after an end; a limit of 0 blocks all |
//! | | `limits::a_spawn_at_the_limit_is_refused_and_works_after_a_task_ended` |
//! | | `limits::a_limit_of_none_blocks_all` |
//! | errgroup 138 | never more than the limit at once |
//! | | `limits::never_more_tasks_than_the_limit_run_at_once` |
//! | errgroup 139 | the cause is the first error, or cancelled |
//! | | `failing::the_cause_names_the_task_that_failed_and_carries_its_error` |
//! | | `failing::of_failures_that_race_the_one_in_the_cause_is_the_first_in_the_report` |
//! | | `joining::the_context_has_ended_after_a_join_also_without_a_failure` |
//! | golang/go#61611 | nothing is started after the end |
//! | | `limits::nothing_is_started_in_a_scope_that_has_ended` |
//! | Kotlin D1 | a job waits for its children |
//! | | `joining::it_waits_for_tasks_and_their_children` |
//! | | `joining::it_waits_for_work_of_a_child_scope_that_nobody_joins` |
//! | Kotlin D2 | a failure ends parent and siblings, a supervisor's does not |
//! | | `failing::the_first_failure_ends_the_context_and_so_the_other_tasks` |
//! | | `failing::a_supervisor_only_records_failures` |
//! | Kotlin D3 | a child that is cancelled fails nobody |
//! | | `failing::a_task_that_is_cancelled_fails_nobody` |
//! | swansong E3 | what is made after the end is ended |
//! | | `dropping::a_child_of_a_scope_that_ended_is_born_ended` |
//! | swansong E4 | a guard delays every ancestor, also moved or late |
//! | | `draining::a_hold_of_a_grandchild_delays_every_ancestor` |
//! | | `draining::a_hold_taken_late_or_moved_to_another_thread_counts` |
//! | swansong E5 | completion never comes with a live guard, and stays |
//! | | `draining::completion_never_comes_with_a_live_hold_and_stays` |
//! | | `draining::the_end_does_not_come_while_a_hold_lives_even_after_the_grace` |
//! | | `draining::a_parent_that_is_closed_lets_nothing_into_a_child` |
//! | swansong E6 | the count is exact |
//! | | `draining::what_is_in_flight_is_counted_exactly` |

mod draining;
mod dropping;
mod failing;
mod joining;
mod keeping;
mod limits;
mod stragglers;

use std::future::pending;
use std::time::Duration;

use downhaul_context::scope::BoxError;
use downhaul_context::{Context, Scope};

const SECOND: Duration = Duration::from_secs(1);

fn scope() -> Scope {
    Scope::new(&Context::background(), "orders")
}

/// A task that stops when it is told to.
async fn obedient(ctx: Context) -> Result<(), BoxError> {
    ctx.run(pending::<()>()).await?;
    Ok(())
}

/// A task that does not.
async fn stubborn(_ctx: Context) -> Result<(), BoxError> {
    pending::<()>().await;
    Ok(())
}
