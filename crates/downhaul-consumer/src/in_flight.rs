//! [`InFlight`]: a message that is being handled.

use downhaul_context::{Instant, RequestId};

use crate::handler::Meta;
use crate::message::Message;

/// A message that is being handled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InFlight {
    /// The id of the message.
    pub message_id: String,
    /// The request that it belongs to.
    pub request_id: RequestId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When its handling began.
    pub since: Instant,
}

impl InFlight {
    /// Of a message that belongs to the request that it names.
    pub(crate) fn of(message: &Message, attempt: u32, since: Instant) -> Self {
        let (message_id, request_id) = (message.id().to_owned(), message.request());
        Self { message_id, request_id, attempt, since }
    }

    pub(crate) fn new(meta: &Meta, request_id: Option<RequestId>, since: Instant) -> Self {
        let request_id = request_id.unwrap_or_else(RequestId::generate);
        let message_id = meta.message.id().to_owned();
        Self { message_id, request_id, attempt: meta.attempt, since }
    }
}
