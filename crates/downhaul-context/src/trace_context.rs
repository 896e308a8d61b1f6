//! [`TraceContext`]: W3C trace context as it travels, for whoever makes spans of it.

use std::fmt;
use std::sync::Arc;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    traceparent: Arc<str>,
    tracestate: Option<Arc<str>>,
}

impl TraceContext {
    /// Takes the headers of an inbound request or message. A `tracestate` that is empty, too long
    /// or not printable is left out.
    ///
    /// # Errors
    ///
    /// [`InvalidTraceContext`] if `traceparent` is not of the form `00-<32 hex>-<16 hex>-<2 hex>`
    /// in lower case, or if its trace id or span id is all zeros.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, InvalidTraceContext> {
        if !is_traceparent(traceparent) {
            return Err(InvalidTraceContext(()));
        }
        let printable = |state: &&str| state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let fits = |state: &&str| !state.is_empty() && state.len() <= LONGEST_STATE;
        let tracestate = tracestate.filter(fits).filter(printable).map(Arc::from);
        Ok(Self { traceparent: Arc::from(traceparent), tracestate })
    }

    /// The `traceparent` header.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        // Behind the version, by the form that was checked.
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// The `tracestate` header, where there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent)
    }
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
        && text.is_ascii()
        && !is_zero(trace)
        && !is_zero(span)
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
