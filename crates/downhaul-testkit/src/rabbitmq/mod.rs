//! Private RabbitMQ nodes on 127.0.0.1, from the RabbitMQ that the system has installed.
//!
//! Any number of nodes may run at once, as any user. Each has its own directory, ports, cookie and
//! epmd, so neither another node nor a system service can meet it.

mod cluster;
mod detached;
mod installation;
mod node;
mod pika;
mod ports;
mod shared;
mod site;

pub use self::cluster::Cluster;
pub use self::detached::Detached;
pub use self::installation::is_installed;
pub use self::node::Node;
pub use self::pika::Pika;
pub use self::shared::{shared, shared_ctl};
pub use crate::error::{NodeError, NodeErrorKind};
