//! Components out of the box.

mod broker;
mod consumer;
mod http;

pub use self::broker::BrokerLink;
pub use self::consumer::ConsumerWorker;
pub use self::http::HttpServer;
