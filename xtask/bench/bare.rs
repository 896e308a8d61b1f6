//! Payloads as they are, for `ruststream`, which would read and write them by a codec.

use std::convert::Infallible;

use ruststream::memory::prelude::*;

/// The bytes of a message, as they came.
pub(crate) struct Bare<'a>(pub(crate) &'a [u8]);

impl Deserialized for Bare<'_> {
    type Output<'a> = Bare<'a>;
    type Error = Infallible;

    fn from_payload(payload: &[u8]) -> Result<Bare<'_>, Infallible> {
        Ok(Bare(payload))
    }
}

impl Input for Bare<'_> {
    type Axis = SoloDeserialized<Bare<'static>>;
}

/// The bytes of a message, as they go.
pub(crate) struct Parcel(pub(crate) Vec<u8>);

impl Serialized for Parcel {
    type Error = Infallible;

    fn wire_bytes(&self, _buffer: &mut BytesMut) -> Result<WireBytes<'_>, Infallible> {
        Ok(WireBytes::Own(&self.0))
    }
}

impl MessageWire for Parcel {
    type Wire = SerializedWire;
}

impl OutgoingDestination for Parcel {
    type Form = CallerName;
}

impl MessageHeaders for Parcel {
    type Contract = NoHeaders;
}
