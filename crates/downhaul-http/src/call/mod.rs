//! Calls to other services, as parts of the request that makes them.

pub(crate) mod call_body;
pub(crate) mod call_error;
pub(crate) mod call_layer;
pub(crate) mod inject;
