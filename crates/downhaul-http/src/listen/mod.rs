//! Where connections come from, and what carries them.

pub(crate) mod address;
#[cfg(feature = "tls")]
pub(crate) mod counted;
pub(crate) mod greeted;
#[cfg(all(unix, feature = "systemd"))]
pub(crate) mod inherited;
pub(crate) mod listener;
pub(crate) mod memory;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod transport;
#[cfg(unix)]
pub(crate) mod unix;
