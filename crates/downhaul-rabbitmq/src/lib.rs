#![doc = include_str!("../README.md")]
//!
//! # What it declares
//!
//! All of it durable, and all messages persistent:
//!
//! - a topic exchange, `downhaul`, by which topics are routed; a topic is a routing key, and a
//!   consumer may bind with `*` and `#`;
//! - for each consumer its queue, bound to its topics, and its dead-letter queue, `<queue>.dead`;
//! - for each delay in use a queue `<queue>.retry.<milliseconds>`, out of which messages expire
//!   into the queue that they are for. A delay is rounded up to one of 100, 250 and 500 ms, 1, 2,
//!   5, 10 and 30 s, 1, 2, 5 and 15 min, 1, 6 and 24 h. Such a queue goes away when it was idle for
//!   an hour longer than its delay, and stays if it is a quorum queue.
//!
//! A [`Topology`] has its own say in that: exchanges of all types, queues with their properties,
//! and bindings, declared in the same moments.
//!
//! It needs no plugin. The user needs the permission to configure, write and read these, and to
//! write to `amq.default`, by which dead letters and delayed messages go.
//!
//! # What it promises
//!
//! Each by a test in `tests`, on real nodes that are killed, frozen and starved:
//!
//! 1. A confirmed message is in every queue of its topic
//!    (`a_confirmed_message_is_in_each_queue_of_its_topic_and_in_no_other`), and outlives a power
//!    cut (`a_consumer_goes_on_after_a_power_cut_and_no_confirmed_message_is_lost`).
//! 2. A message that no queue takes comes back to its own publisher, also among others that are
//!    under way (`what_no_queue_takes_comes_back_to_its_own_publisher`).
//! 3. When the broker dies, receipts resolve as unknown and sources end at once, paused ones too
//!    (`a_broker_that_dies_leaves_receipts_unknown_and_ends_every_source`). When it freezes, the
//!    heartbeat tells
//!    (`a_frozen_broker_is_given_up_on_after_the_heartbeat_and_the_connect_timeout`).
//! 4. Connections that an operator closes and queues that they delete are opened and declared again
//!    (`a_consumer_goes_on_after_its_connections_were_closed_or_its_queue_was_deleted`).
//! 5. While the broker is short of memory or disk, publishes wait and acknowledgements pass
//!    (`a_broker_that_runs_short_lets_publishes_wait_and_acknowledgements_pass`).
//! 6. What trying again cannot mend is a configuration error, and says what to change
//!    (`a_wrong_password_or_vhost_is_a_wrong_configuration`,
//!    `a_queue_that_exists_with_other_properties_is_named`).
//! 7. A delay holds a message back for at least that long, leads to its own queue alone, and never
//!    waits behind a longer one
//!    (`a_delayed_message_comes_to_its_own_queue_alone_and_never_behind_a_longer_one`).
//! 8. An acknowledgement never covers an unfinished message
//!    (`each_tag_gets_its_verdict_and_no_other_tag_gets_any`).
//! 9. No password is shown in an error, a debug print or a log line (`no_password_is_shown`,
//!    `a_url_that_is_not_valid_is_refused_and_never_repeated`,
//!    `no_log_line_has_a_password_but_lapins_own_traces_of_its_frames`), and no key
//!    (`no_key_is_shown`).
//! 10. Under TLS, which is the feature `tls`, a broker is trusted if its certificate is for the
//!     right name and signed by whom it should be
//!     (`a_broker_is_used_under_tls_where_each_side_trusts_the_other_and_not_else`), and files that
//!     were renewed are read
//!     (`renewed_files_count_from_the_next_connection_on_and_broken_ones_are_waited_for`).
//! 11. Of the nodes of a [cluster](RabbitMq::cluster), the next one is used when one dies
//!     (`a_consumer_and_a_publisher_go_on_at_the_next_node_when_theirs_is_killed`) or freezes
//!     (`a_node_that_does_not_answer_is_left_for_the_next_one`), and an error names them all
//!     (`an_error_names_every_node_that_was_tried`).
//! 12. [Credentials](RabbitMq::credentials) are asked for each connection
//!     (`credentials_are_asked_for_each_connection_and_their_failure_is_no_wrong_configuration`),
//!     and a connection that outlives them is told others
//!     (`a_connection_that_outlives_its_password_is_told_the_next_one`).
//! 13. A [`Topology`] is declared as it is written (`what_is_written_is_what_the_broker_has`), also
//!     by a consumer alone (`a_consumer_alone_declares_its_queue_and_where_its_dead_letters_go`)
//!     and again after a loss
//!     (`a_queue_that_is_deleted_comes_back_with_its_properties_and_bindings`); a mismatch names
//!     the queue and its property
//!     (`a_mismatch_names_the_queue_and_the_property_and_leaves_its_siblings_alone`), and what
//!     would lose messages is said (`what_is_lost_is_said_and_what_is_safe_is_not`).
//! 14. A message that is held longer than the broker's consumer timeout costs its own consumer its
//!     channel, and no other
//!     (`a_message_that_is_held_too_long_comes_again_and_costs_no_sibling_its_channel`);
//!     the error says what to change
//!     (`a_source_whose_message_is_held_too_long_ends_with_advice_and_its_siblings_go_on`,
//!     `a_verdict_that_comes_after_the_consumer_timeout_says_so`). When half of the time is over,
//!     a warning is logged (`what_is_held_for_half_of_the_consumer_timeout_is_warned_of_once`).
//! 15. Clients that lose their links together do not come back together
//!     (`clients_that_lose_their_links_at_once_are_not_back_at_once`,
//!     `clients_whose_broker_was_away_do_not_try_in_step`).
//! 16. Retries that are parked are counted exactly, whatever happens to the links meanwhile
//!     (`attempts_are_counted_exactly_while_links_are_lost`), and nothing that fails comes again
//!     faster than its backoff (`what_fails_again_and_again_comes_no_faster_than_its_backoff`).
//! 17. Closing a source never says that settlements have arrived which have not
//!     (`a_verdict_that_races_the_end_of_its_channel_is_never_falsely_said_to_have_arrived`).
//! 18. On a quorum queue, a message that aborts the process is handled alone after a while
//!     (`a_message_that_aborts_the_process_ends_up_alone_and_then_with_the_dead_letters`).
//! 19. A cluster that loses a node, or the way to it, loses no message
//!     (`a_cluster_whose_leader_is_killed_and_then_cut_off_loses_nothing_and_goes_on`).
//! 20. A channel that was nacked is left for a fresh one, and nobody notices
//!     (`a_channel_that_was_refused_something_makes_way_for_another_when_it_is_at_rest`,
//!     `nobody_notices_that_channels_make_way_for_others`).
//! 21. With [`RabbitMq::passive`], nothing is declared, and what others have declared is enough
//!     (`who_may_declare_nothing_publishes_and_consumes_what_others_have_declared`); what is not
//!     there yet is named (`what_nobody_has_declared_yet_is_named_and_waited_for`).
//! 22. The properties of a message are headers, which its retries and its dead letter keep
//!     (`what_pika_publishes_is_read_whatever_its_framework_puts_into_it`,
//!     `a_dead_letter_of_ours_tells_pika_why_it_is_one`), and a caller is answered
//!     (`a_caller_with_pika_is_answered`).
//!
//! # What it does not do
//!
//! - Acknowledge with an answer: AMQP 0.9.1 has none. A settlement is written, and known to have
//!   arrived once the source is closed.
//! - Carry over the end of a delay with a confirm on classic queues: a node that is killed in that
//!   instant may lose the message. With [`QueueType::Quorum`] that hop is confirmed too.
//! - Tell a duplicate of a message without an id: each delivery of it gets a fresh one.
//! - Delay a message to a topic, send or read a header that RabbitMQ keeps for itself (`CC`, `BCC`
//!   and its own names in `x-`, such as `x-death`), or send a body above 128 MiB. Where
//!   `max_message_size` is lower, the first body above that costs the channel, and the receipts
//!   under way resolve as unknown; later ones are refused
//!   (`what_the_broker_finds_too_large_is_refused_from_the_second_time_on`).
//! - Send or read the properties `expiration`, for which there is
//!   [`with_deadline`](downhaul_consumer::Message::with_deadline), and `user_id`. Those that
//!   [`property`] names are headers, and names in `amqp-` are for them alone.
//! - Read a message whose properties, or the names of whose headers, are no UTF-8: lapin gives up
//!   the connection for it, with all consumers on it, and so again when it is delivered again. The
//!   error says so (`a_message_that_cannot_be_read_ends_the_source_with_advice`).
//! - Read keys with a passphrase, or the parameters of URLs that
//!   [`RabbitMq::new`] does not name: they are refused.
//! - Keep lapin quiet: it logs each returned message with its payload at `WARN`, under the target
//!   `lapin::returned_messages`. Filter that target out where payloads must not be logged. At
//!   `TRACE` it logs all that it writes, the password among it: leave `lapin` at `DEBUG`.
//! - Give up on a frozen broker without a trace: lapin keeps a thread and a socket for an attempt
//!   to connect until the broker goes on, or its machine drops the link. There are at most four of
//!   them for each node, and for each of the two connections
//!   (`attempts_at_a_frozen_broker_do_not_pile_up`,
//!   `attempts_at_a_frozen_node_do_not_pile_up_while_another_one_is_lost_again_and_again`).
//!
//! # Versions of RabbitMQ
//!
//! It uses what 3.10 has, and was tried on 3.10.8 alone. lapin does not tell what the broker says
//! of itself, so nothing newer is used by itself. What newer versions have or do differently was
//! *not* tried; an argument is one for [`Queue::argument`].
//!
//! | since | what | here |
//! |---|---|---|
//! | 3.10 | quorum queues with TTL, dead letters at least once | used, and tried |
//! | 3.12 | consumer timeouts of a queue | argument `x-consumer-timeout` (1) |
//! | 3.12 | version 2 of classic queues | argument `x-queue-version` |
//! | 4.0 | a delivery limit of 20 where none is set | argument `x-delivery-limit`, -1 (2) |
//! | 4.0 | no messages above 16 MiB | not known: it costs the channel (3) |
//! | 4.0 | no mirrored classic queues | none are asked for |
//! | 4.0 | priorities of quorum queues | not used |
//! | 4.3 | `basic.nack` does not count for the limit | not relied on (2) |
//! | 4.3 | `x-acquired-count` | not read; `x-delivery-count` is |
//! | 4.3 | a timeout cancels consumers of quorum queues | as if the queue were deleted (1) |
//! | 4.3 | delayed retries of quorum queues | not used: delays are queues |
//!
//! 1. Elsewhere the node's own timeout counts, half an hour by default: then RabbitMQ closes the
//!    channel, or ends the consumer, and delivers again. Either way the source is opened anew.
//! 2. A quorum queue without a dead-letter exchange drops what comes too often, which
//!    [`Topology::warnings`] tells. Retries are published anew and do not add up. A loss of the
//!    link does, and up to 4.2 what is released when a consumer stops.
//! 3. Until RabbitMQ names its limit, which it does when it refuses a message, we assume that of
//!    version 3: 128 MiB.
//!
//! Nor was it tried with streams, which it does not read; with OAuth 2, though
//! `connection.update-secret` was, for RabbitMQ's own users; with `auth_mechanism=external`, which
//! takes a plugin; or behind a load balancer.
//!
//! # Features
//!
//! `tls`: `amqps`, by rustls.

mod address;
mod attempts;
mod credentials;
mod declare;
mod error;
mod held;
mod largest;
mod letter;
mod link;
mod nodes;
mod options;
mod parameters;
mod passive;
pub mod property;
mod rabbitmq;
mod refresh;
mod sink;
mod source;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod unsettled;

pub use crate::credentials::Credentials;
pub use crate::options::QueueType;
pub use crate::rabbitmq::RabbitMq;
#[cfg(feature = "tls")]
pub use crate::tls::Tls;
pub use crate::topology::{Argument, Exchange, Overflow, Queue, Topology};
