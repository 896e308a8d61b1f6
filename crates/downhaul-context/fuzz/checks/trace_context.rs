//! `TraceContext::parse`: the first line is the parent, the rest the state.

use downhaul_context::TraceContext;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (parent, state) = match text.split_once('\n') {
        Some((parent, state)) => (parent, Some(state)),
        None => (text, None),
    };
    match TraceContext::parse(parent, state) {
        Ok(trace) => {
            assert!(is_parent(parent), "taken: {parent:?}");
            assert_eq!(trace.traceparent(), format!("00{}", &parent[2..55]));
            assert_eq!(trace.tracestate(), state.filter(|state| is_state(state)));
            let (trace_id, span_id) = (trace.trace_id_bytes(), trace.span_id_bytes());
            let made = TraceContext::from_ids(trace_id, span_id, trace.flags()).unwrap();
            assert_eq!(made.traceparent(), trace.traceparent());
        }
        Err(_) => assert!(!is_parent(parent), "refused: {parent:?}"),
    }
}

/// Trace Context §3.2: four fields of hex, which later versions may add to.
fn is_parent(text: &str) -> bool {
    let is_hex = |text: &str| text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let is_id = |text: &str| is_hex(text) && text.contains(|c| c != '0');
    if text.len() < 55 || text.len() > 512 || !is_printable(text) {
        return false;
    }
    let (fields, more) = text.split_at(55);
    let dashes = [2, 35, 52].into_iter().all(|at| fields.as_bytes()[at] == b'-');
    let is_known = match &fields[..2] {
        "00" => more.is_empty(),
        "ff" => false,
        _ => more.is_empty() || more.starts_with('-'),
    };
    let hex = is_hex(&fields[..2]) && is_hex(&fields[53..]);
    dashes && is_known && hex && is_id(&fields[3..35]) && is_id(&fields[36..52])
}

fn is_state(text: &str) -> bool {
    !text.is_empty() && text.len() <= 512 && is_printable(text)
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|c| matches!(c, ' '..='~'))
}
