//! [`TraceContext`]: W3C trace context as it travels, for whoever makes spans of it.

use std::array;
use std::fmt;
use std::sync::Arc;

/// How long a `traceparent` of version 00 is, and what all others begin with.
const LENGTH: usize = 55;
/// Where its fields are.
const TRACE_ID: usize = 3;
const SPAN_ID: usize = 36;
const FLAGS: usize = 53;

/// The bit of the flags that says that the caller may have recorded its span.
const SAMPLED: u8 = 1;

/// The longest `tracestate` that is passed on, in bytes (W3C Trace Context level 2, §3.3.1.5, asks
/// for at least 512).
const LONGEST_STATE: usize = 512;

/// The position in a distributed trace: the W3C headers `traceparent` and `tracestate`.
///
/// This crate only checks and carries it. Without a tracer it passes from the inbound request to
/// outbound messages unchanged; with one, the tracer binds the position of its own span instead.
///
/// # Examples
///
/// ```
/// use downhaul_context::TraceContext;
///
/// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::parse(parent, None).unwrap();
/// assert_eq!(trace.traceparent(), parent);
/// assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert!(TraceContext::parse("00-zz", None).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    traceparent: Traceparent,
    tracestate: Option<Arc<str>>,
}

/// The text, which is of the form that is asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Traceparent {
    /// Without memory of its own, since every request has one.
    Short([u8; LENGTH]),
    /// Of a later version, with fields that we do not know.
    Long(Arc<str>),
}

impl TraceContext {
    /// Takes the headers of an inbound request or message. A `tracestate` that is empty, too long
    /// or not printable is left out.
    ///
    /// # Errors
    ///
    /// [`InvalidTraceContext`] if `traceparent` is not of the form `00-<32 hex>-<16 hex>-<2 hex>`
    /// in lower case, with more of what can be printed behind that in a later version, or if its
    /// trace id or span id is all zeros.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, InvalidTraceContext> {
        if !is_traceparent(traceparent) {
            return Err(InvalidTraceContext(()));
        }
        let text = match traceparent.as_bytes().try_into() {
            Ok(text) => Traceparent::Short(text),
            Err(_) => Traceparent::Long(Arc::from(traceparent)),
        };
        let trace = Self { traceparent: text, tracestate: None };
        Ok(tracestate.into_iter().fold(trace, Self::with_tracestate))
    }

    /// The position of a span of one's own: what a tracer binds. It is of version 00.
    ///
    /// # Errors
    ///
    /// [`InvalidTraceContext`] if one of the ids is all zeros, which W3C has for no id.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::TraceContext;
    ///
    /// let trace = TraceContext::from_ids([0x4b; 16], [0xf0; 8], 1).unwrap();
    /// let text = "00-4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b-f0f0f0f0f0f0f0f0-01";
    /// assert_eq!(trace.traceparent(), text);
    /// assert!(TraceContext::from_ids([0; 16], [0xf0; 8], 1).is_err());
    /// ```
    pub fn from_ids(
        trace_id: [u8; 16],
        span_id: [u8; 8],
        flags: u8,
    ) -> Result<Self, InvalidTraceContext> {
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(InvalidTraceContext(()));
        }
        let mut text = [b'-'; LENGTH];
        text[..2].copy_from_slice(b"00");
        write_hex(&trace_id, &mut text[TRACE_ID..]);
        write_hex(&span_id, &mut text[SPAN_ID..]);
        write_hex(&[flags], &mut text[FLAGS..]);
        Ok(Self { traceparent: Traceparent::Short(text), tracestate: None })
    }

    /// The same position with a `tracestate`. One that is empty, too long or not printable is left
    /// out.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::TraceContext;
    ///
    /// let trace = TraceContext::from_ids([1; 16], [2; 8], 0).unwrap();
    /// assert_eq!(trace.with_tracestate("vendor=1").tracestate(), Some("vendor=1"));
    /// ```
    #[must_use]
    pub fn with_tracestate(self, tracestate: &str) -> Self {
        let fits = !tracestate.is_empty() && tracestate.len() <= LONGEST_STATE;
        let tracestate = (fits && is_printable(tracestate)).then(|| Arc::from(tracestate));
        Self { tracestate, ..self }
    }

    /// The `traceparent` header.
    pub fn traceparent(&self) -> &str {
        match &self.traceparent {
            // Hexadecimal digits and hyphens are always text.
            Traceparent::Short(text) => str::from_utf8(text).unwrap_or_default(),
            Traceparent::Long(text) => text,
        }
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        // Behind the version, by the form that was checked.
        self.traceparent().get(TRACE_ID..TRACE_ID + 32).unwrap_or_default()
    }

    /// The id of the trace as a number has it, most significant byte first.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::TraceContext;
    ///
    /// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let trace = TraceContext::parse(parent, None).unwrap();
    /// let id = u128::from_be_bytes(trace.trace_id_bytes());
    /// assert_eq!(id, 0x4bf92f3577b34da6a3ce929d0e0e4736);
    /// assert_eq!(u64::from_be_bytes(trace.span_id_bytes()), 0x00f067aa0ba902b7);
    /// assert_eq!((trace.flags(), trace.is_sampled()), (1, true));
    /// ```
    pub fn trace_id_bytes(&self) -> [u8; 16] {
        read_hex(self.fields(), TRACE_ID)
    }

    /// The id of the span, most significant byte first.
    pub fn span_id_bytes(&self) -> [u8; 8] {
        read_hex(self.fields(), SPAN_ID)
    }

    /// The flags, as they came.
    pub fn flags(&self) -> u8 {
        let [flags] = read_hex(self.fields(), FLAGS);
        flags
    }

    /// Whether the flags say that the span there may be recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags() & SAMPLED != 0
    }

    /// The `tracestate` header, where there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// What all versions have.
    fn fields(&self) -> &[u8; LENGTH] {
        match &self.traceparent {
            Traceparent::Short(text) => text,
            Traceparent::Long(text) => text.as_bytes().first_chunk().unwrap_or(&[b'0'; LENGTH]),
        }
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceContext")
            .field("traceparent", &self.traceparent())
            .field("tracestate", &self.tracestate)
            .finish()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traceparent())
    }
}

/// Writes two digits a byte, without a branch.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        let digit = |half: u8| half + b'0' + u8::from(half > 9) * (b'a' - b'0' - 10);
        digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
}

/// Reads what is at a place in a text that was checked.
fn read_hex<const N: usize>(text: &[u8; LENGTH], at: usize) -> [u8; N] {
    // A letter of lower case is nine further than its last four bits say.
    let half = |at: usize| (text[at] & 0xf) + (text[at] >> 6) * 9;
    array::from_fn(|nth| (half(at + 2 * nth) << 4) | half(at + 2 * nth + 1))
}

/// W3C Trace Context §3.2: version 00, and later versions by their first four fields.
fn is_traceparent(text: &str) -> bool {
    let mut fields = text.split('-');
    let mut field =
        |len: usize| fields.next().filter(|field| field.len() == len && is_lower_hex(field));
    let (Some(version), Some(trace), Some(span), Some(_flags)) =
        (field(2), field(32), field(16), field(2))
    else {
        return false;
    };
    let nothing_follows = text.len() == 55;
    let known_form = (version == "00" && nothing_follows) || (version != "00" && version != "ff");
    known_form
        && text.len() <= LONGEST_STATE
        && is_printable(text)
        && !is_zero(trace)
        && !is_zero(span)
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_lower_hex(field: &str) -> bool {
    field.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_zero(field: &str) -> bool {
    field.bytes().all(|byte| byte == b'0')
}

/// Text that is not a W3C `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a traceparent: want `00-<32 hex>-<16 hex>-<2 hex>`, lower case, with ids that are not zero"
)]
pub struct InvalidTraceContext(());
