#![doc = include_str!("../README.md")]
//!
//! # What it makes
//!
//! A queue is a consumer group of that name. Its topics are Kafka's. They are made by
//! [`Kafka::create_topics`] alone: without it, a subscription to a topic that does not exist is a
//! configuration error. What belongs to a group is made by whoever opens it
//! ([`Kafka::group_topics`]):
//!
//! - for each step of delay a topic `<group>.retry.<step>`, such as `inventory.retry.10s`, in which
//!   messages wait until they are due ([`Kafka::retry_steps`]); also what is published to the group
//!   alone comes by the shortest of them. Its consumers read these as a second group,
//!   `<group>.retry`, so that they do not count where the work is shared out;
//! - for dead letters a topic `<group>.dead`, which a group of that name reads.
//!
//! A client needs the rights to describe, read and write these topics, to make them where they are
//! not there yet, and to read as both groups. One that may describe their configuration, too, warns
//! where messages are deleted before they are due.
//!
//! # What it sets
//!
//! Librdkafka's own defaults hold but for these. A property that is set by [`Kafka::property`] and
//! its like, or behind the address, wins over them
//! (`what_was_told_comes_before_what_is_usual_and_only_where_it_belongs`); this table is compared
//! with the code (`the_table_of_defaults_says_what_is_set`).
//!
#![doc = include_str!("defaults.md")]
//!
//! And `client.id` is `downhaul`. What the rest relies on cannot be set: the addresses, the group,
//! whatever commits offsets by itself, and a transactional id
//! (`what_the_rest_relies_on_cannot_be_set`).
//!
//! # What it promises
//!
//! On brokers of Kafka's protocol and librdkafka's mock, in `tests/it`, `tests/faults`,
//! `tests/transactions` and the suite of all brokers:
//!
//! 1. What is committed covers no unfinished message, in whatever order they are finished
//!    (`what_is_committed_is_the_lowest_unfinished_offset_and_a_restart_begins_there`) and whatever
//!    offsets are left out (`gaps_in_offsets_do_not_hold_up_what_is_committed`). A process that is
//!    killed repeats no more (`a_process_that_is_killed_repeats_only_what_was_not_committed`).
//! 2. A partition that goes to another consumer is finished first, and its offset committed
//!    (`lanes_that_move_are_finished_and_committed_and_begin_right_there_at_the_other`); what is
//!    finished of it later counts as lost (`what_is_not_finished_in_the_revoke_budget_is_lost`).
//!    What lies before finished messages is finished first as well, also before a consumer stops:
//!    what stands in line behind its key
//!    (`what_stands_in_line_before_finished_messages_is_finished_before_its_partition_goes`), and
//!    retries that are due in the first half of the budget
//!    (`a_stop_waits_for_a_retry_that_finished_messages_lie_behind`). So members that come and go
//!    under load lose nothing, and repeat only what lies behind a message that a handler released
//!    (`members_that_come_and_go_under_load_lose_nothing_and_repeat_nothing`). Topics for retries
//!    are shared out by themselves, and so is the work
//!    (`consumers_share_the_work_evenly_however_many_topics_for_retries_there_are`).
//! 3. A handler may take as long as it likes, and a consumer may be paused for as long: the
//!    membership is kept by a task of its own, so that `max.poll.interval.ms` is met
//!    (`a_handler_that_takes_longer_than_the_poll_interval_keeps_the_membership`,
//!    `a_handler_that_blocks_its_thread_keeps_the_membership`,
//!    `a_paused_consumer_keeps_the_membership`). Only where its partition is to go does a handler
//!    have no longer than [`Kafka::revoke_budget`].
//! 4. A source that is closed has its last offsets at the broker, and has left the group, so that
//!    others have its partitions at once
//!    (`who_closes_leaves_its_partitions_to_the_others_at_once`). One that is dropped leaves as
//!    well (`who_is_dropped_leaves_its_partitions_to_the_others_at_once`).
//! 5. Stopping is prompt in every state, also where no broker answers
//!    (`every_word_to_stop_is_obeyed_promptly_while_no_broker_answers`).
//! 6. A break that is shorter than the session costs nothing. After a longer one the source ends
//!    (`a_source_that_reaches_no_broker_for_a_session_is_dead`), has lost all, and commits nothing
//!    (`who_was_cut_off_for_longer_than_the_session_has_lost_all_and_commits_nothing`). Whatever
//!    happens to its links, nothing is lost
//!    (`whatever_happens_nothing_is_lost_made_up_or_repeated_without_a_cause`).
//! 7. A confirmed message is on all replicas that are in sync, once, and in the order in which it
//!    was sent (`what_is_sent_again_after_a_break_is_there_once_and_in_its_order`); what librdkafka
//!    only concludes is no confirmation
//!    (`what_is_said_to_be_written_by_a_later_answer_alone_is_unknown`). Many are under way at a
//!    time (`each_of_many_receipts_under_way_resolves`). A message to a topic that does not exist
//!    comes back to its publisher (`what_has_no_topic_is_returned_and_makes_none`).
//! 8. Messages of one key come in the order in which they were published
//!    (`messages_of_a_key_come_in_their_order`), while keys of one partition are handled side by
//!    side (`a_slow_key_does_not_hold_up_the_others`). A message that is not finished stops its
//!    partition and no other, and is told of
//!    (`a_message_that_is_unfinished_for_long_stops_its_partition_and_no_other`,
//!    `a_message_that_keeps_a_partition_from_being_read_is_told_of_once`).
//! 9. A delay holds a message back for at least that long, and does not wait for a longer one
//!    (`a_delayed_message_is_never_early_and_a_short_delay_does_not_wait_for_a_long_one`); it leads
//!    to its own group alone (`what_is_sent_to_a_group_comes_to_it_alone`). Nothing waits in the
//!    topic of a step for longer than the step
//!    (`a_message_that_says_that_it_is_due_in_years_waits_no_longer_than_its_topic_is_for`), and
//!    topics of former steps are read on (`topics_of_steps_that_a_group_once_had_are_read_on`).
//! 10. What trying again cannot mend is a configuration error on one line
//!     (`a_topic_that_there_is_not_is_told_by_its_name_and_what_to_do`,
//!     `a_group_or_a_topic_that_may_not_be_used_is_permanent`). What one broker says of itself, and
//!     of a certificate that was good before, may be mended
//!     (`a_broker_that_lets_nobody_in_does_not_keep_from_asking_the_next_one`,
//!     `a_certificate_that_was_good_before_may_be_renewed`).
//! 11. No value of a property is shown in an error or a debug print
//!     (`a_property_that_is_wrong_or_ours_is_told_by_its_name_and_never_by_its_value`,
//!     `no_value_of_a_property_is_shown`,
//!     `an_address_that_is_not_valid_is_refused_and_never_repeated`,
//!     `a_query_that_is_not_valid_is_refused_and_never_repeated`).
//! 12. With [`Kafka::transactional`], readers of committed messages see what a handler returned
//!     for each message once, be it emitted, parked or a dead letter
//!     (`each_message_leads_to_what_its_handler_returned_once`), whatever crashes
//!     (`each_message_leads_to_one_output_whatever_crashes`). It becomes visible together with the
//!     offset of its message (`outputs_become_visible_with_the_offsets_of_their_messages`), and not
//!     at all if the message is released, tried again or never settled
//!     (`a_message_that_is_released_leads_to_nothing_until_it_is_finished`,
//!     `nothing_of_an_outcome_is_seen_if_some_of_it_fails`,
//!     `what_was_emitted_and_not_settled_is_never_seen_and_its_message_comes_again`).
//! 13. A partition goes after its last transaction
//!     (`partitions_go_after_what_was_finished_of_them_is_visible`,
//!     `members_that_come_and_go_publish_everything_once`). Of one that was lost nothing is
//!     published (`nothing_is_published_of_partitions_that_were_lost`,
//!     `nothing_more_is_published_when_partitions_are_lost_while_a_transaction_is_under_way`), nor
//!     by a process whose place was taken
//!     (`whoever_is_taken_over_from_dies_and_leaves_nothing_behind`,
//!     `what_a_predecessor_had_begun_is_undone_before_the_first_message_comes`).
//! 14. What waits for a transaction is bounded
//!     (`a_partition_is_not_read_far_ahead_of_a_transaction_that_takes_long`), and a message that
//!     the broker refuses holds up nothing
//!     (`a_message_whose_outcome_is_refused_becomes_a_dead_letter_and_the_others_go_on`).
//! 15. A group goes on where [`Kafka::seek`] says, while nobody reads as the group
//!     (`a_group_goes_on_where_it_is_told`, `a_group_that_is_read_is_not_told_where_to_go_on`). One
//!     that begins at the end begins there once
//!     (`what_is_published_while_nobody_reads_is_not_left_out_by_a_group_that_began_at_the_end`).
//!
//! # What it does not do
//!
//! - Commit what a handler emits together with the offset of its message, unless it was told to be
//!   [transactional](Kafka::transactional): otherwise both may come twice.
//!   [An inbox](downhaul_consumer::inbox) recognises what comes again.
//! - Acknowledge with an answer: offsets are committed every second or 10,000 messages
//!   ([`Kafka::commit_every`]). What was finished in between comes again after a crash, and so does
//!   all behind the lowest unfinished message of a partition, at most [`Kafka::longest_gap`]. The
//!   latter does so too where a source is closed or a partition goes with something unfinished, as
//!   after an abort or a budget that was over: a `WARN` says how many of which partition.
//! - Keep a delay to the moment: a message may be late by the difference between its delay and the
//!   step that it was put into, and longer if its group was away. A delay beyond the longest step
//!   is refused. One of a message to a topic holds up all behind it in its partition.
//! - Count deliveries: whether a message has brought down consumers is not known.
//! - Subscribe by a pattern, or begin a new group anywhere but at `auto.offset.reset`. A group's
//!   offsets are Kafka's own: [`Kafka::seek`] and Kafka's tools move them, while the group is
//!   stopped.
//! - Tell headers of one name apart: the last counts. Headers of a message that are called
//!   `message-id`, `content-type`, `due-ms` or `tombstone` are not sent: these say what the record
//!   is.
//! - Recognise a foreign message that was published twice: one without the header `message-id` gets
//!   its place as its id, `topic-partition-offset`, which is the same at each delivery.
//! - Raise alarms for librdkafka: its log lines are events of `tracing` under the target
//!   `librdkafka`, at most `INFO` unless it cannot go on.
//! - Stop in the middle of a call to a broker that is frozen: such a call keeps a thread of its own
//!   until librdkafka gives up on it.
//!
//! Not tried: groups of the protocol of KIP-848 (`group.protocol`), static members
//! (`group.instance.id`), which do not leave when they are closed, and SASL by Kerberos or OAuth.
//!
//! # Features
//!
//! `tls`: TLS, and SASL/SCRAM, by the system's OpenSSL. Without it there is SASL/PLAIN alone, in
//! the clear.
//!
//! Librdkafka is built from the source that its crate brings, in about half a minute, with a C
//! compiler and make; with `tls` also pkg-config and OpenSSL's headers. On Debian these are `gcc`,
//! `make`, `pkg-config` and `libssl-dev`.

mod address;
mod admin;
mod blocking;
mod client;
mod delivery;
mod error;
mod kafka;
mod ladder;
mod options;
mod own;
mod places;
mod query;
mod record;
mod roll;
mod seek;
mod sink;
mod source;
mod ticket;
mod topics;
mod transactions;

pub use crate::kafka::Kafka;
pub use crate::record::TOMBSTONE;
pub use crate::seek::Place;
pub use crate::topics::NewTopics;
