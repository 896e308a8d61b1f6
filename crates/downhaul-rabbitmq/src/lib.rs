//! RabbitMQ.
mod address;
mod error;
mod letter;
mod link;
mod options;
mod rabbitmq;
mod sink;
mod source;
mod topology;
mod unsettled;

pub use crate::options::QueueType;
pub use crate::rabbitmq::RabbitMq;
