//! Ids from outside are checked before they reach a log.

use std::collections::HashSet;

use downhaul_context::{RequestId, TraceContext};
use proptest::prelude::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn fresh_request_ids_are_valid_and_sort_by_time() {
    let (first, second) = (RequestId::generate(), RequestId::generate());
    assert!(RequestId::parse(first.as_str()).is_ok());
    assert!(first.as_str() < second.as_str());
}

#[test]
fn fresh_request_ids_are_unique_in_all_threads_and_sort_in_each() {
    let generate = || (0..1000).map(|_| RequestId::generate().to_string()).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(generate)).collect();
    let ids: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(ids.iter().all(|ids| ids.is_sorted()));
    let unique: HashSet<_> = ids.iter().flatten().collect();
    assert_eq!(unique.len(), 4000);
    // Version 7, variant 10.
    let marks = |id: &String| (id.as_bytes()[14], id.as_bytes()[19]);
    assert!(unique.iter().all(|id| matches!(marks(id), (b'7', b'8'..=b'9' | b'a'..=b'b'))));
}

#[test]
fn a_request_id_of_129_bytes_or_none_is_refused() {
    assert!(RequestId::parse(&"a".repeat(128)).is_ok());
    assert!(RequestId::parse(&"a".repeat(129)).is_err());
    assert!(RequestId::parse("").is_err());
}

#[test]
fn a_traceparent_of_a_later_version_may_have_more_fields() {
    let later = format!("cc{}-what-the-future-brings", &PARENT[2..]);
    assert!(TraceContext::parse(&later, None).is_ok());
    let longest = format!("{later:-<512}");
    assert!(TraceContext::parse(&longest, None).is_ok());
    assert!(TraceContext::parse(&(longest + "-"), None).is_err());
    assert!(TraceContext::parse(&format!("{PARENT}-more"), None).is_err());
    assert!(TraceContext::parse(&format!("{later}\r\nx: y"), None).is_err());
}

#[test]
fn what_is_of_another_form_or_has_a_zero_id_is_no_traceparent() {
    for bad in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
    ] {
        assert!(TraceContext::parse(bad, None).is_err(), "{bad}");
    }
}

#[test]
fn each_place_of_a_traceparent_takes_a_digit_in_lower_case_or_its_hyphen() {
    // Not the version, which says itself what may follow.
    for place in 2..PARENT.len() {
        for byte in 0..=0x7f_u8 {
            let mut text = PARENT.as_bytes().to_vec();
            text[place] = byte;
            let is_right = match PARENT.as_bytes()[place] {
                b'-' => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            };
            let text = String::from_utf8(text).unwrap();
            assert_eq!(TraceContext::parse(&text, None).is_ok(), is_right, "{text:?}");
        }
    }
}

#[test]
fn ids_that_are_zero_are_no_position() {
    assert!(TraceContext::from_ids([0; 16], [1; 8], 1).is_err());
    assert!(TraceContext::from_ids([1; 16], [0; 8], 1).is_err());
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    (trace[15], span[7]) = (1, 1);
    assert!(TraceContext::from_ids(trace, span, 0).is_ok());
}

#[test]
fn a_position_reads_as_the_text_that_was_written_of_it() {
    let parsed = TraceContext::parse(PARENT, Some("a=1")).unwrap();
    let (trace, span) = (parsed.trace_id_bytes(), parsed.span_id_bytes());
    let made = TraceContext::from_ids(trace, span, 1).unwrap();
    assert_ne!(made, parsed);
    assert_eq!(made.with_tracestate("a=1"), parsed);
    assert!(format!("{parsed:?}").contains(PARENT));
}

#[test]
fn of_a_later_version_what_is_known_goes_on_as_version_00() {
    for more in ["", "-more"] {
        let later = format!("cc{}{more}", &PARENT[2..]);
        assert_eq!(TraceContext::parse(&later, None).unwrap().traceparent(), PARENT);
    }
}

#[test]
fn only_the_last_of_the_flags_says_whether_a_span_is_recorded() {
    let sampled = |flags| TraceContext::from_ids([1; 16], [1; 8], flags).unwrap().is_sampled();
    assert!(sampled(0x01) && sampled(0xff) && !sampled(0x00) && !sampled(0xfe));
}

#[test]
fn an_empty_tracestate_is_left_out() {
    assert_eq!(TraceContext::parse(PARENT, Some("")).unwrap().tracestate(), None);
    assert_eq!(TraceContext::parse(PARENT, Some("a=1")).unwrap().tracestate(), Some("a=1"));
}

// A case takes Miri a second.
const CASES: u32 = if cfg!(miri) { 8 } else { 256 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn ids_and_flags_come_back_as_they_went_in(trace: [u8; 16], span: [u8; 8], flags: u8) {
        prop_assume!(trace != [0; 16] && span != [0; 8]);
        let made = TraceContext::from_ids(trace, span, flags).unwrap();
        let ids = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
        let expected = format!("00-{:032x}-{:016x}-{flags:02x}", ids.0, ids.1);
        prop_assert_eq!(made.traceparent(), expected.as_str());
        prop_assert_eq!(TraceContext::parse(&expected, None).unwrap(), made.clone());
        prop_assert_eq!((made.trace_id_bytes(), made.span_id_bytes()), (trace, span));
        prop_assert_eq!(made.flags(), flags);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".*", state in ".*") {
        let _ = TraceContext::parse(&text, Some(&state));
        if let Ok(id) = RequestId::parse(&text) {
            prop_assert!(id.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
