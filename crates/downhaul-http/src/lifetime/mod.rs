//! One request, from its head to the last byte of its answer.

pub(crate) mod answer_body;
pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod handle;
pub(crate) mod head;
pub(crate) mod in_flight;
pub(crate) mod request_info;
pub(crate) mod strict;
pub(crate) mod tracked;
