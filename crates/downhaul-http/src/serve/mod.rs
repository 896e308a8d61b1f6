//! A server: its connections, its limits, its end.

pub(crate) mod accept;
pub(crate) mod clocks;
pub(crate) mod connection;
pub(crate) mod connection_info;
pub(crate) mod departure;
pub(crate) mod drain;
pub(crate) mod gathered;
pub(crate) mod http2_limits;
pub(crate) mod hub;
pub(crate) mod io;
pub(crate) mod limits;
mod linger;
pub(crate) mod link;
pub(crate) mod preface;
pub(crate) mod running;
pub(crate) mod server;
pub(crate) mod stream_executor;
pub(crate) mod tally;
pub(crate) mod upgraded;
pub(crate) mod watch;
