//! Components out of the box.

mod broker;
mod consumer;
pub(crate) mod http;
mod job;
mod relay;
mod resource;
mod task;
mod work;

pub use self::broker::BrokerLink;
pub use self::consumer::ConsumerWorker;
pub use self::http::HttpServer;
pub use self::job::Job;
pub use self::relay::RelayWorker;
pub use self::resource::{Closed, NotProvided, Provided, Resource};
pub use self::task::Task;
