//! What crosses to another process.

use std::borrow::Cow;
use std::time::Duration;

use downhaul_context::wire::{Budget, Extract, Names, inject};
use downhaul_context::{CauseKind, Context, RequestId, WireValue};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq)]
struct Tenant(String);

impl WireValue for Tenant {
    const NAME: &'static str = "tenant";

    fn encode(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn decode(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

#[derive(Debug, PartialEq)]
struct Secret(u32);

impl WireValue for Secret {
    const NAME: &'static str = "secret";
    const REDACTED: bool = true;

    fn encode(&self) -> Cow<'_, str> {
        Cow::Owned(self.0.to_string())
    }

    fn decode(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

fn tenant(name: &str) -> Tenant {
    Tenant(name.to_owned())
}

/// All that is read in these tests.
fn extract() -> Extract {
    Extract::new(&Names::MESSAGE).accept::<Tenant>().accept::<Secret>()
}

#[tokio::test(start_paused = true)]
async fn what_is_injected_on_one_side_is_found_on_the_other() {
    let (ctx, _canceller) = Context::background().with_timeout(2 * SECOND);
    let ctx = ctx.with_value(RequestId::generate()).with_wire_value(tenant("acme"));
    let ctx = ctx.with_wire_value(Secret(7)).with_value("not opted in");
    let pairs = inject(&ctx, &Names::MESSAGE, Duration::ZERO);
    assert_eq!(pairs.len(), 4);

    let pairs = pairs.iter().map(|(name, text)| (name.as_ref(), text.as_bytes()));
    let found = extract().from_pairs(pairs);
    assert_eq!((found.is_fresh(), found.rejected()), (false, 0));
    tokio::time::advance(SECOND).await;
    // The budget counts from when it is applied: clocks are not compared.
    let (there, _canceller) = found.apply(&Context::background());
    assert_eq!(there.remaining(), Some(2 * SECOND));
    assert_eq!(there.value::<RequestId>(), ctx.value::<RequestId>());
    assert_eq!(there.value(), Some(&tenant("acme")));
    assert_eq!(there.value(), Some(&Secret(7)));
}

#[tokio::test(start_paused = true)]
async fn a_margin_is_taken_off_and_a_budget_that_is_over_is_zero() {
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let budget = |margin| inject(&ctx, &Names::MESSAGE, margin)[0].1.clone();
    assert_eq!(budget(Duration::from_micros(1)), "999");
    assert_eq!(budget(2 * SECOND), "0");
    let zero = extract().from_pairs([("budget-ms", b"0".as_slice())]);
    let (there, _canceller) = zero.apply(&Context::background());
    assert_eq!(there.cause().unwrap().kind(), CauseKind::Deadline);
}

#[test]
fn a_context_without_a_deadline_writes_no_budget_and_a_cap_is_granted_where_none_came() {
    assert!(inject(&Context::background(), &Names::HTTP, SECOND).is_empty());
    assert_eq!(extract().from_pairs([]).budget(), None);
    let capped = extract().cap(SECOND);
    assert_eq!(capped.from_pairs([]).budget(), Some(SECOND));
    for (asked, granted) in [(b"5000".as_slice(), SECOND), (b"400", SECOND * 2 / 5)] {
        assert_eq!(capped.from_pairs([("Budget-Ms", asked)]).budget(), Some(granted));
    }
}

#[test]
fn the_nearest_binding_crosses_and_one_that_did_not_opt_in_hides_it() {
    let ctx = Context::background().with_wire_value(tenant("far")).with_wire_value(tenant("near"));
    let pairs = inject(&ctx, &Names::MESSAGE, Duration::ZERO);
    assert_eq!(pairs, [(Cow::Borrowed("tenant"), "near".to_owned())]);
    let hidden = ctx.with_value(tenant("local"));
    assert!(inject(&hidden, &Names::MESSAGE, Duration::ZERO).is_empty());
}

#[test]
fn what_is_not_valid_is_absent_and_counted_and_unknown_names_are_left_alone() {
    let pairs: [(&str, &[u8]); 8] = [
        ("request-id", b"x\nINFO paid=true"),
        ("Request-ID", b"good-1"),
        ("request-id", b"good-2"),
        ("budget-ms", b"soon"),
        ("tenant", b"\xff"),
        ("tenant", b""),
        ("secret", &[b'1'; 9_000]),
        ("cookie", b"\xff\x00"),
    ];
    let found = extract().from_pairs(pairs);
    assert_eq!(found.request_id().as_str(), "good-1");
    assert_eq!((found.budget(), found.rejected()), (None, 6));
    let (there, _canceller) = found.apply(&Context::background());
    assert!(there.value::<Tenant>().is_none() && there.value::<Secret>().is_none());
    let nothing = extract().from_pairs([]);
    assert!(nothing.is_fresh() && nothing.request_id().as_str().len() == 36);
}

#[test]
fn a_printed_context_shows_what_opted_in_escaped_and_no_secret() {
    let ctx = Context::background().with_wire_value(tenant("a\nb"));
    let ctx = ctx.with_wire_value(Secret(12_345)).with_value("hidden");
    let text = format!("{ctx:?}");
    assert!(text.contains(r#""tenant": "a\nb""#), "{text}");
    assert!(text.contains(r#""secret": <redacted>"#), "{text}");
    assert!(!text.contains("12345") && !text.contains("hidden"), "{text}");
}

#[test]
fn a_grpc_timeout_is_read_in_every_unit_and_refused_in_every_other_form() {
    let nanos = |text: &[u8]| Budget::from_grpc(text).map(|budget| budget.span().as_nanos());
    let valid: [(&[u8], u128); 7] = [
        (b"0n", 0),
        (b"1u", 1_000),
        (b"1500m", 1_500_000_000),
        (b"7S", 7_000_000_000),
        (b"2M", 120_000_000_000),
        (b"1H", 3_600_000_000_000),
        (b"99999999H", 359_999_996_400_000_000_000),
    ];
    for (text, expected) in valid {
        assert_eq!(nanos(text), Some(expected));
    }
    for text in [b"".as_slice(), b"m", b"1", b"123456789m", b"-1m", b"1.5S", b"1 S", b"1s"] {
        assert_eq!(nanos(text), None, "{text:?}");
    }
    // Nine digits of nanoseconds are one too many.
    assert_eq!(Budget::new(SECOND / 10).to_grpc(), "100000u");
}

proptest! {
    #[test]
    fn a_budget_read_back_is_never_longer_than_the_one_written(nanos in any::<u64>()) {
        let budget = Budget::new(Duration::from_nanos(nanos));
        let grpc = Budget::from_grpc(budget.to_grpc().as_bytes()).unwrap();
        let millis = Budget::from_millis(budget.to_millis().as_bytes()).unwrap();
        prop_assert!(grpc <= budget && millis <= budget);
        // Eight digits tell more than one in ten million.
        prop_assert!(budget.span() - grpc.span() <= budget.span() / 100_000);
    }

    #[test]
    fn whatever_comes_in_is_read_without_a_panic(
        pairs in prop::collection::vec((".{0,12}", any::<Vec<u8>>()), 0..20),
        known in prop::collection::vec((0..4_usize, any::<Vec<u8>>()), 0..20),
    ) {
        let names = ["request-id", "budget-ms", "tenant", "secret"];
        let known_pairs = known.iter().map(|(name, bytes)| (names[*name], bytes.as_slice()));
        let others = pairs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let found = extract().cap(SECOND).from_pairs(others.chain(known_pairs));
        prop_assert!(found.budget() <= Some(SECOND));
        let printed = format!("{found:?}");
        let (ctx, _canceller) = found.apply(&Context::background());
        prop_assert!(ctx.value::<RequestId>().is_some() && !printed.is_empty());
    }
}
