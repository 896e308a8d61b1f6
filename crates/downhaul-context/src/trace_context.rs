//! [`TraceContext`]: W3C trace context as it travels, for whoever makes spans of it.

use std::fmt;
use std::sync::Arc;

/// How long a `traceparent` of version 00 is, and what all others begin with.
const LENGTH: usize = 55;
/// Where its fields are, and what is between them.
const VERSION: usize = 0;
const TRACE_ID: usize = 3;
const SPAN_ID: usize = 36;
const FLAGS: usize = 53;
const HYPHENS: [usize; 3] = [TRACE_ID - 1, SPAN_ID - 1, FLAGS - 1];

/// The longest `traceparent` of a later version that is read, in bytes.
const LONGEST_PARENT: usize = 512;

/// The bit of the flags that says that the caller may have recorded its span.
const SAMPLED: u8 = 1;

/// The longest `tracestate` that is passed on, in bytes (W3C Trace Context level 2, §3.3.1.5, asks
/// for at least 512).
const LONGEST_STATE: usize = 512;

/// The position in a distributed trace: the W3C headers `traceparent` and `tracestate`.
///
/// This crate only checks and carries it. Without a tracer it passes from the inbound request to
/// outbound messages as it is; with one, the tracer binds the position of its own span instead.
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
    // Not the text: most are made for a request that tells nobody.
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    tracestate: Option<Arc<str>>,
}

impl TraceContext {
    /// Takes the headers of an inbound request or message. A `tracestate` that is empty, too long
    /// or not printable is left out.
    ///
    /// Of a later version that is taken which version 00 has, and it goes on as version 00, as W3C
    /// Trace Context §3.2.4 asks.
    ///
    /// # Errors
    ///
    /// [`InvalidTraceContext`] if `traceparent` is not of the form `00-<32 hex>-<16 hex>-<2 hex>`
    /// in lower case, with more of what can be printed behind that in a later version, or if its
    /// trace id or span id is all zeros.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, InvalidTraceContext> {
        let (trace_id, span_id, flags) = read(traceparent).ok_or(InvalidTraceContext(()))?;
        let trace = Self::from_ids(trace_id, span_id, flags)?;
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
        Ok(Self { trace_id, span_id, flags, tracestate: None })
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
        let tracestate =
            (fits && is_printable(tracestate.as_bytes())).then(|| Arc::from(tracestate));
        Self { tracestate, ..self }
    }

    /// The `traceparent` header, of version 00.
    pub fn traceparent(&self) -> String {
        self.to_string()
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
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
        self.trace_id
    }

    /// The id of the span, most significant byte first.
    pub fn span_id_bytes(&self) -> [u8; 8] {
        self.span_id
    }

    /// The flags, as they came.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the flags say that the span there may be recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The `tracestate` header, where there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
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
        let mut text = [b'-'; LENGTH];
        write_hex(&[0], &mut text[VERSION..]);
        write_hex(&self.trace_id, &mut text[TRACE_ID..]);
        write_hex(&self.span_id, &mut text[SPAN_ID..]);
        write_hex(&[self.flags], &mut text[FLAGS..]);
        // Hexadecimal digits and hyphens are always text.
        f.pad(str::from_utf8(&text).unwrap_or_default())
    }
}

/// The ids and the flags of a text of the form that W3C Trace Context §3.2 asks for: of version 00,
/// or of a later one, by what it begins with.
fn read(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let (fields, more) = text.as_bytes().split_first_chunk::<LENGTH>()?;
    let [version] = read_hex(fields, VERSION)?;
    let is_known_form = match version {
        0 => more.is_empty(),
        0xff => false,
        _ => more.is_empty() || more.starts_with(b"-"),
    };
    // The rest is digits and hyphens.
    let fits = text.len() <= LONGEST_PARENT && is_printable(more);
    if !is_known_form || !fits || HYPHENS.iter().any(|&at| fields[at] != b'-') {
        return None;
    }
    let [flags] = read_hex(fields, FLAGS)?;
    Some((read_hex(fields, TRACE_ID)?, read_hex(fields, SPAN_ID)?, flags))
}

/// Writes two digits a byte, without a branch.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        let digit = |half: u8| half + b'0' + u8::from(half > 9) * (b'a' - b'0' - 10);
        digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
}

/// Reads the bytes whose digits begin at a place. Without a branch a digit: nothing foresees those
/// of an id, and each that comes unforeseen costs more than all the rest.
fn read_hex<const N: usize>(text: &[u8; LENGTH], at: usize) -> Option<[u8; N]> {
    let (mut bytes, mut seen) = ([0; N], 0);
    for (byte, digits) in bytes.iter_mut().zip(text[at..].chunks_exact(2)) {
        let [high, low] = [VALUES[usize::from(digits[0])], VALUES[usize::from(digits[1])]];
        *byte = (high << 4) | low;
        seen |= high | low;
    }
    (seen < NO_DIGIT).then_some(bytes)
}

/// What stands for no digit, with a bit that no digit has.
const NO_DIGIT: u8 = 0x10;

/// What each byte stands for as a digit. Those of upper case are none here.
const VALUES: [u8; 256] = {
    let (mut values, mut value) = ([NO_DIGIT; 256], 0);
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// Text that is not a W3C `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a traceparent: want `00-<32 hex>-<16 hex>-<2 hex>`, lower case, with ids that are not zero"
)]
pub struct InvalidTraceContext(());
