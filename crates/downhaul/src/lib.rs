#![doc = include_str!("../README.md")]
//!
//! # Rules of use
//!
//! 1. Add what is needed before what needs it: a dependency is a [`Handle`] that you already hold.
//! 2. Give each component its own context down, not one of your own making: the app drains and ends
//!    it.
//! 3. Print the report and call [`Report::exit`] at the end of `main`: a blocking thread cannot
//!    keep the process then.
//! 4. Install [`Telemetry`] first, so that the first line has a place to go.
//! 5. Give the orchestrator's grace from [`App::plan`], so that it is never shorter than yours.
//!
//! # What it guarantees
//!
//! 1. Unless a second signal forces it, a component stops only after all that need it, and starts
//!    after all that it needs (`invariants::order_and_budget_are_kept_and_the_report_is_true`).
//! 2. A failed start stops exactly what was started, in reverse order
//!    (`app::a_failed_start_stops_what_was_started`).
//! 3. A component that hangs costs its share of the grace and is named
//!    (`app::a_component_that_hangs_is_named`).
//! 4. A second signal ends the run at once (`forced::a_second_signal_forces`).
//! 5. The app is ready only between its start and the word to stop
//!    (`control::readiness_follows_the_app`).
//! 6. What fails is started again if its [`Policy`] says so, with what needs it; what fails for
//!    good and is not optional drains the app and is its cause
//!    (`restarts::what_failed_is_started_again_and_what_needs_it_with_it_in_order`,
//!    `restarts::one_failure_too_many_in_a_row_stops_the_app_and_is_its_cause`).
//! 7. An app whose limits do not fit into its grace does not start
//!    (`plan::a_grace_that_is_too_short_is_refused_at_the_start`).
//! 8. A service behind a load balancer that looks at its readiness loses no request when it stops
//!    (`lame_duck::none_of_a_thousand_clients_loses_a_request_when_the_service_stops`).
//! 9. Every log line of a request or message bears its request id
//!    (`logging::a_text_line_bears_the_request_id_of_the_spans_around_it`).
//! 10. A setting that does not exist, or has the wrong form, is refused by its name, and no secret
//!     is shown (`config::an_unknown_key_is_told_with_the_nearest_known_one_and_without_its_value`,
//!     `config::a_secret_is_shown_nowhere`).
//! 11. A test hears of all that happens to the components of its app, in order
//!     (`testing::what_was_soon_over_is_not_missed`).
//! 12. A trace is whole from the request over the broker to the consumer, as a collector of others
//!     gets it (`otlp::a_collector_of_others_gets_the_whole_trace_over_http`).
//! 13. A collector that refuses, is silent or is slow does not hold the stop, and the report names
//!     what was lost
//!     (`telemetry::a_collector_that_never_answers_does_not_hold_the_stop_and_the_report_says_so`).
//! 14. No metric is recorded where nobody asks, and what a client makes up becomes none
//!     (`metrics::where_telemetry_is_off_nothing_is_recorded_and_there_is_no_page`,
//!     `metrics::what_a_client_makes_up_makes_no_series`).
//!
//! # Features
//!
//! - `rabbitmq` (default): the RabbitMQ broker.
//! - `otlp` (default): spans and metrics to a collector when the environment names one.
//! - `otlp-tls`: the same to a collector over `https`. It builds ring, which needs a C compiler.
//! - `grpc`: OTLP over gRPC, too, where the environment asks for it. It builds tonic, and brings
//!   `otlp-tls` along.
//! - `prometheus` (default): the metrics as a page for Prometheus.
//! - `stdout`: spans and metrics on standard output, for trying things out.
//! - `kafka`: the Kafka broker. It builds librdkafka, which needs a C compiler and make.
//! - `kafka-tls`: TLS and SASL/SCRAM for it, which need OpenSSL's headers.
//! - `tls`: encrypted HTTP, and `amqps` to RabbitMQ.
//! - `axum` and `idempotency` of `downhaul-http`, `sqlite` of `downhaul-consumer` and `tokio-util`
//!   of `downhaul-context`: as there.
//! - `testing`: an app in a test, in `downhaul::testing`; and `downhaul::consumer::testing`.
//! - `systemd`: systemd is told of start, stop and progress; HTTP on sockets that it has opened.

mod abort;
mod app;
mod board;
mod component;
mod components;
pub mod config;
mod control;
mod error;
mod graph;
mod handle;
mod logging;
mod notify;
#[cfg(test)]
mod partitioned;
mod plan;
mod policy;
mod pulse;
mod report;
mod restart;
mod run;
mod share;
mod signal;
mod status;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

pub use crate::app::App;
pub use crate::component::{Component, Ended, Handle};
pub use crate::components::{
    BrokerLink, Closed, ConsumerWorker, HttpServer, Job, NotProvided, Provided, RelayWorker,
    Resource, Task,
};
pub use crate::control::Control;
pub use crate::error::BoxError;
pub use crate::handle::{AppHandle, Refused};
pub use crate::logging::LogFormat;
pub use crate::plan::{Plan, Planned};
pub use crate::policy::Policy;
pub use crate::report::{ComponentReport, Ending, Outcome, Report};
pub use crate::restart::Restart;
pub use crate::signal::Signal;
pub use crate::status::{State, Status};
pub use crate::telemetry::{
    Baggage, HttpSpans, MessageSpans, Metrics, Spans, Telemetry, TelemetryBuilder, TelemetryError,
};

pub use downhaul_consumer as consumer;
pub use downhaul_context as context;
pub use downhaul_context::{
    Cause, Class, Context, Instant, Kind, RequestId, ResultExt, Traced, TracedError,
};
pub use downhaul_http as http;
#[cfg(feature = "kafka")]
pub use downhaul_kafka as kafka;
#[cfg(feature = "rabbitmq")]
pub use downhaul_rabbitmq as rabbitmq;
