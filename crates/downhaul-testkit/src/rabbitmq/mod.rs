//! Private RabbitMQ nodes on 127.0.0.1, from the RabbitMQ that the system has installed.
//!
//! Any number of nodes may run at once, as any user. Each has its own directory, ports, cookie and
//! epmd, so neither another node nor a system service can meet it. What holds:
//!
//! 1. A server process writes its pid into the node's directory before it becomes a server, and
//!    does not become one if the directory is gone.
//! 2. Whoever takes a node down moves its directory away first and then kills by those pids.
//! 3. A watchdog does so at the end of this process, however it ends. By 1 and 2 it misses nothing.

mod detached;
mod error;
mod installation;
mod node;
mod poll;
mod ports;
mod process;
mod shared;
mod site;

pub use self::detached::Detached;
pub use self::error::{NodeError, NodeErrorKind};
pub use self::installation::is_installed;
pub use self::node::Node;
pub use self::shared::{shared, shared_ctl, unique};
