//! Private brokers on 127.0.0.1 that speak Kafka's protocol, from programs that
//! `cargo xtask broker up kafka` installs.
//!
//! They stand in for Apache Kafka, which needs a JVM and cannot be had everywhere. Each [`Kind`]
//! does some things wrongly or not at all, which its [`Gap`]s name, so that a suite skips a
//! scenario in the open and never bends a client to a stand-in. Who has unpacked an Apache Kafka
//! sets `DOWNHAUL_APACHE_KAFKA` to its folder and `DOWNHAUL_KAFKA_KIND` to `apache`, and it is
//! started in their place. `DOWNHAUL_KAFKA_BROKERS=host:port` has the tests of [`shared`] run
//! against any other broker.

mod answer;
mod apache;
mod broker;
mod detached;
mod gap;
mod installation;
mod kind;
mod setup;
mod shared;
mod site;

pub use self::broker::Broker;
pub use self::detached::Detached;
pub use self::gap::Gap;
pub use self::installation::home;
pub use self::kind::Kind;
pub use self::setup::Setup;
pub use self::shared::{shared, shared_kind, shared_lacks, shared_of};
pub use crate::error::{NodeError, NodeErrorKind};
