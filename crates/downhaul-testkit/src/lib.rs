//! What Downhaul's tests share: the suite that every broker passes, runs in which everything
//! happens to a broker, an oracle that judges a run by its log, a proxy that breaks links, and
//! private brokers that a test starts, breaks and forgets.
//!
//! ```no_run
//! use downhaul_testkit::rabbitmq::Node;
//!
//! let mut node = Node::start().expect("RabbitMQ starts");
//! println!("{}", node.url());
//! node.kill();                            // as a power cut would
//! node.restart().expect("it comes back"); // same data, same ports
//! ```
//!
//! Nothing outlives the test: dropping a node removes it, and so does the death of the process.

#[cfg(feature = "suite")]
pub mod certificates;
mod error;
#[cfg(feature = "suite")]
pub mod faults;
pub mod kafka;
mod ledger;
#[cfg(feature = "suite")]
pub mod oracle;
mod poll;
mod ports;
mod process;
#[cfg(feature = "suite")]
pub mod proxy;
pub mod rabbitmq;
#[cfg(feature = "suite")]
pub mod suite;
pub mod telemetry;
mod tools;
