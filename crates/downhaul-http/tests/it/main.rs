//! What the crate promises, on real sockets and with raw bytes.

mod bodies;
mod connections;
mod draining;
mod interop;
mod lifecycle;
mod routing;
mod support;
