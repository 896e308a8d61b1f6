#![doc = include_str!("../README.md")]
//!
//! # Rules of use
//!
//! 1. Pass the `ctx` of a handler to everything it calls, and wait under it: `ctx.run(…).await?`.
//! 2. Work that must outlive the request gets `ctx.detached().with_timeout(…)`, or a context of the
//!    service. It is not waited for by a drain.
//! 3. Errors are answers: return an [`Error`] whose message tells the client what to do; what is
//!    behind it goes into the source, for the log.
//! 4. The owner of the server calls [`Running::drain`]. A context that drains stops no server.
//! 5. Keep [`Running`]: dropping it closes the server.
//!
//! # What it guarantees
//!
//! 1. One answer, in time, even where a handler that has waited once blocks its thread
//!    (`lifecycle::a_handler_that_blocks_its_thread_does_not_delay_the_504`), and under
//!    [`own_tasks`](Server::own_tasks) one that has not
//!    (`lifecycle::in_a_task_of_its_own_it_does_not_even_if_it_never_waits`,
//!    `lifecycle::a_deadline_and_a_completion_at_the_same_tick_make_exactly_one_answer`).
//! 2. A response that is ready at the deadline wins
//!    (`lifecycle::a_response_that_is_ready_at_the_deadline_wins`).
//! 3. After its context has ended a handler has a grace, and is aborted then
//!    (`lifecycle::a_deaf_handler_is_answered_for_at_its_deadline_and_aborted_after_the_grace`).
//! 4. A client that goes away ends its request with a cause
//!    (`lifecycle::a_client_that_goes_away_cancels_its_request`), also where a pipelined request or
//!    an unread body lies in the way (`departures`), and in the middle of a body
//!    (`uploads::one_whose_client_leaves_ends_with_that`), unless the server is to
//!    [finish](OnDisconnect::Finish) it (`lifecycle::under_finish_a_handler_outlives_its_client`).
//! 5. A panic is a 500 for one request (`lifecycle::a_panic_is_a_500_and_the_connection_lives_on`),
//!    and where an answer has begun it is cut
//!    (`streams::one_that_fails_or_panics_after_its_head_is_cut_and_told_as_what_it_is`).
//! 6. Late bodies are 408, large ones 413, whatever the service makes of them, and the client can
//!    read it (`bodies::a_client_that_is_refused_while_it_sends_still_reads_why`,
//!    `bodies::a_deadline_that_passes_while_the_body_arrives_is_a_408_not_a_504`,
//!    `interop::an_axum_handler_whose_body_is_too_large_answers_413`).
//! 7. Every answer of a service or in place of one carries `x-request-id`
//!    (`lifecycle::every_answer_carries_the_request_id_that_the_handler_sees`).
//! 8. A drain loses nothing that was begun
//!    (`draining::a_thousand_requests_in_flight_over_keep_alive_are_all_answered`,
//!    `draining::a_request_that_lies_in_the_socket_when_the_drain_begins_is_answered`,
//!    `draining::a_thousand_idle_connections_do_not_hold_the_ten_that_are_busy`,
//!    `uploads::one_that_goes_on_is_taken_and_answered`).
//! 9. A drain ends in time and names what it had to abort
//!    (`draining::what_ignores_its_cancellation_is_aborted_and_named_in_the_report`,
//!    `draining::a_client_that_stops_reading_holds_the_drain_no_longer_than_the_plan`,
//!    `draining::a_half_sent_head_and_a_silent_client_do_not_hold_the_drain`).
//! 10. Clients that say nothing, or half of something, are closed
//!     (`connections::a_half_sent_head_is_closed_after_the_header_limit`,
//!     `connections::a_client_that_says_nothing_is_closed_after_the_idle_limit`), and so are those
//!     that take nothing of their answer
//!     (`connections::a_client_that_stops_reading_is_closed_after_the_write_limit`).
//! 11. A client that says how long it waits is not worked for any longer
//!     (`budgets::a_client_shortens_the_deadline_by_what_it_says`), and [`inject`] says it to those
//!     that are called next (`budgets::what_is_left_goes_on_to_the_next_service`), as do clients
//!     under a [`CallLayer`] (`calls::the_other_side_has_the_request_id_and_less_time`).
//! 12. A route has what it needs and the rest keep their bounds
//!     (`route_limits::one_may_take_longer_than_the_others`).
//! 13. An answer that streams on when its context ends is cut, and does not look whole
//!     (`streams::one_that_is_not_done_at_the_deadline_is_cut_and_does_not_look_whole`), over
//!     HTTP/1.0 neither
//!     (`streams::one_of_http_1_0_that_is_cut_ends_with_a_reset_and_a_whole_one_does_not`).
//! 14. A head that can be read in two ways is refused: no host or two
//!     (`strictness::one_valid_host_is_asked_for`), codings and expectations that nobody knows
//!     (`strictness::no_coding_but_chunked_is_known`,
//!     `strictness::nothing_can_be_expected_but_to_continue`), targets that are none
//!     (`malformed::lines::request_lines`). Of 170 malformed and odd requests, `malformed` says
//!     what the RFCs want and what becomes of each, and that none smuggles another.
//! 15. A connection that is upgraded is a request in flight to its end
//!     (`upgrades::one_is_in_flight_and_its_context_lasts_until_it_is_over`), which comes with the
//!     drain at the latest
//!     (`upgrades::one_that_nobody_reads_or_writes_is_closed_by_force_and_named`).
//! 16. Half a TLS handshake holds neither a connection
//!     (`encrypted::plain_text_and_half_a_handshake_are_closed_after_the_header_limit`) nor a drain
//!     (`encrypted::half_a_handshake_does_not_hold_a_drain`): one that is a second old when the
//!     server stops is cut, for nothing was asked on it.
//! 17. A stream of events that never ends does not hold a drain, and ends whole
//!     (`events::a_drain_ends_them_whole_and_is_not_held`).
//! 18. A client that floods, resets or starves its streams is sent away or waited for, and costs
//!     the others nothing (`abuse`): no connection runs more handlers at once than it may have
//!     streams
//!     (`abuse::resets::slow_ones_run_no_more_handlers_than_there_may_be_streams`), and
//!     a stream whose window never opens is cut at the deadline
//!     (`abuse::windows::one_that_never_opens_is_cut_at_the_deadline`), or at the write limit
//!     (`abuse::windows::one_that_never_opens_is_cut_at_the_write_limit_too`). What a client takes
//!     slowly is in flight until it has it
//!     (`abuse::windows::an_answer_in_one_piece_is_in_flight_until_it_is_taken`).
//! 19. A request leaves nothing behind, however it ended
//!     (`baseline::a_hundred_thousand_requests_leave_tasks_contexts_and_values_as_they_were`).
//! 20. With the feature `idempotency`, a request that comes again with its key is not carried out
//!     again
//!     (`idempotency::one_that_comes_again_is_told_the_same_and_is_not_carried_out`).
//!
//! # Limits and defaults
//!
//! | what | default | beyond it | set by |
//! |---|---|---|---|
//! | request, to the end of its answer | 30 s | 504, 408, or cut | [`timeout`](Server::timeout) |
//! | request whose handler wants time | its own | bounded | [`max_timeout`](Server::max_timeout) |
//! | handler after its context has ended | 1 s | aborted | [`cancel_grace`](Server::cancel_grace) |
//! | body | 2 MiB | 413, close | [`body_limit`](Server::body_limit) |
//! | next piece of a body | 10 s | 408, close | [`body_timeout`](Server::body_timeout) |
//! | head, from its first byte; handshake | 10 s | close | [`header_timeout`] |
//! | connection without a request | 75 s | close | [`idle_timeout`](Server::idle_timeout) |
//! | connection, however busy | 1 h ± 10 % | drained | [`max_connection_age`] |
//! | answer that nobody takes | 30 s | close, or reset | [`write_timeout`](Server::write_timeout) |
//! | connections | 10,000 | wait | [`max_connections`](Server::max_connections) |
//! | connections of one address | no bound | close | [`max_connections_per_ip`] |
//! | head | 16 KiB, 100 headers | 431 | [`max_header_bytes`](Server::max_header_bytes) |
//! | HTTP/2 streams of a connection | 200 | refused | [`Http2Limits::max_concurrent_streams`] |
//! | HTTP/2 requests of a connection, with reset ones that run on | 200 | 503 | the same |
//! | HTTP/2 streams that are reset before they begin, at once | 20 | close | [pending resets] |
//! | HTTP/2 streams that break the protocol, ever | 100 | close | [local resets] |
//! | HTTP/2 bytes that nobody has read of a stream | 256 KiB | wait | [`stream_window`] |
//! | the same of a connection | 1 MiB | wait | [`connection_window`] |
//! | requests of some routes at once | no bound | 503 | [`RouteLimits::concurrency`] |
//! | drain | 5 + 20 + 3 + 2 s | see [`DrainPlan`] | [`Running::drain`] |
//!
//! [`connection_window`]: Http2Limits::connection_window
//! [`header_timeout`]: Server::header_timeout
//! [local resets]: Http2Limits::max_local_error_reset_streams
//! [`max_connection_age`]: Server::max_connection_age
//! [`max_connections_per_ip`]: Server::max_connections_per_ip
//! [pending resets]: Http2Limits::max_pending_accept_reset_streams
//! [`stream_window`]: Http2Limits::stream_window
//!
//! # What it does not do
//!
//! - Keep a runtime awake whose threads are blocked. One of tokio's threads watches the clock and
//!   the sockets for all. If a handler blocks it right after it was woken while the others sleep, a
//!   504 is late, and so is a signal, until it goes on or something wakes another thread. An app of
//!   the crate `downhaul` does so four times a second. Work that blocks belongs into
//!   `spawn_blocking`.
//! - The timeout of a route, or one that a handler asks for, is that of what comes after; what
//!   runs outside, such as middleware of an outer router, has the server's.
//! - What HTTP/2 has taken of an answer counts as sent, however small the client's window is: the
//!   last 16 KiB. Its stream then lasts as long as its connection.
//! - An HTTP/2 client that reads no answer before it has sent its body may not see a 413 or a 401
//!   that comes sooner, such as curl 7.88: its stream is closed behind the answer (RFC 9113 §8.1).
//! - What hyper refuses before there is a request (malformed heads, 431) has no request id, no span
//!   and no access line; it is logged at DEBUG.
//! - A client that closes its sending side alone cannot be told from one that has left: it is
//!   answered for half a second, and taken for gone then
//!   (`departures::one_that_has_said_all_and_listens_is_answered`). One that leaves after it has
//!   sent more than its socket takes is not seen to leave.
//! - An upgraded connection has no limits but its context, and no end but that of a drain: what is
//!   spoken on it is not ours. In memory, one that neither reads nor writes outlasts even that.
//!
//! # Features
//!
//! - `axum`: the extractors `Ctx`, `Peer` and [`OriginalUri`], and the layer `MatchedRoutes`.
//! - `idempotency`: answers that are kept, and told again to requests with the same
//!   `Idempotency-Key`.
//! - `systemd`: `Listener::inherited`, the sockets that systemd has opened.
//! - `testing`: a client in memory, in `downhaul_http::testing`.
//! - `tls`: `Listener::tls`, encrypted connections.

mod call;
mod context_layer;
mod error;
#[cfg(feature = "idempotency")]
pub mod idempotency;
mod lifetime;
mod listen;
pub mod observe;
mod problem;
mod route;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

pub use crate::call::call_body::CallBody;
pub use crate::call::call_error::CallError;
pub use crate::call::call_layer::{CallFuture, CallLayer, Calls};
pub use crate::call::inject::inject;
pub use crate::context_layer::{ContextLayer, InContext, InContextFuture};
pub use crate::error::{BindError, BoxError, Error};
pub use crate::lifetime::body::{Body, BodyError};
pub use crate::lifetime::request_info::{Phase, RequestInfo};
pub use crate::listen::address::Address;
pub use crate::listen::listener::Listener;
pub use crate::listen::memory::Connector;
#[cfg(feature = "tls")]
pub use crate::listen::tls::{Certificate, CertificateError, Tls};
pub use crate::observe::{AccessLog, RequestObserver};
#[cfg(feature = "axum")]
pub use crate::route::ctx::{Ctx, Peer};
pub use crate::route::endpoint::Next;
pub use crate::route::event::Event;
pub use crate::route::json::Json;
pub use crate::route::limited::{Limited, LimitedFuture};
#[cfg(feature = "axum")]
pub use crate::route::matched::{MatchedRoutes, WithRoute};
pub use crate::route::mount::OriginalUri;
pub use crate::route::request::Request;
pub use crate::route::route_limits::RouteLimits;
pub use crate::route::routed::Routed;
pub use crate::route::router::Router;
pub use crate::route::sse::Sse;
pub use crate::serve::connection_info::{ConnectionInfo, ConnectionPhase};
pub use crate::serve::drain::{DrainPlan, DrainReport};
pub use crate::serve::http2_limits::Http2Limits;
pub use crate::serve::limits::OnDisconnect;
pub use crate::serve::running::Running;
pub use crate::serve::server::Server;

// What handlers and middleware are written with, so that they need neither crate.
#[doc(no_inline)]
pub use axum_core::response::{IntoResponse, Response};
#[doc(no_inline)]
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
