//! [`Baggage`]: what callers attach to a trace, as far as the service lets it in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use downhaul_context::{Context, WireValue};
use opentelemetry::Context as OtelContext;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::BaggagePropagator;

/// The header of W3C Baggage, in HTTP as in messages.
pub(super) const HEADER: &str = "baggage";

/// The keys that the process lets in.
static ALLOWED: OnceLock<Vec<String>> = OnceLock::new();

pub(super) fn allow(keys: Vec<String>) {
    // Whoever has set up the process's subscriber is alone here.
    let _ = ALLOWED.set(keys);
}

/// What callers attach to a trace (W3C Baggage), without the keys that
/// [nobody lets in](crate::TelemetryBuilder::baggage).
///
/// It is a value of the context of a request or a message, and goes on from there with messages and
/// calls. It is not printed, since it is what others say.
///
/// # Examples
///
/// ```
/// use downhaul::{Baggage, Context};
///
/// fn tenant(ctx: &Context) -> Option<&str> {
///     ctx.value::<Baggage>()?.get("tenant")
/// }
/// assert_eq!(tenant(&Context::background()), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baggage {
    pairs: Vec<(String, String)>,
    /// As it travels.
    text: String,
}

impl Baggage {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    /// What of a header is let in; `None` if that is nothing. The SDK refuses what is longer than
    /// the specification asks for.
    fn read(header: &str, allowed: &[String]) -> Option<Self> {
        let (propagator, none) = (BaggagePropagator::new(), OtelContext::new());
        let carried = HashMap::from([(HEADER.to_owned(), header.to_owned())]);
        let all = propagator.extract_with_context(&none, &carried);
        let mut pairs: Vec<_> = all
            .baggage()
            .iter()
            .map(|(key, (value, _metadata))| (key.to_string(), value.to_string()))
            .filter(|(key, _)| allowed.contains(key))
            .collect();
        pairs.sort();
        // What the SDK reads as an escape it does not escape itself.
        let escaped = |value: &String| value.replace('%', "%25");
        let let_in = pairs
            .iter()
            .map(|(key, value)| opentelemetry::KeyValue::new(key.clone(), escaped(value)));
        let mut carried = HashMap::new();
        propagator.inject_context(&none.with_baggage(let_in), &mut carried);
        let text = carried.remove(HEADER).filter(|text| !text.is_empty())?;
        // The SDK has them in no order. A comma inside a value is escaped.
        let mut members: Vec<_> = text.split(',').collect();
        members.sort_unstable();
        let text = members.join(",");
        Some(Self { pairs, text })
    }
}

impl WireValue for Baggage {
    const NAME: &'static str = HEADER;
    const REDACTED: bool = true;

    fn encode(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.text)
    }

    fn decode(text: &str) -> Option<Self> {
        Self::read(text, ALLOWED.get()?)
    }
}

/// Binds what is let in of these headers, which are not looked for if that is nothing.
pub(super) fn bind<'a, I>(ctx: Context, headers: impl FnOnce() -> I) -> Context
where
    I: Iterator<Item = &'a str>,
{
    if ALLOWED.get().is_none() {
        return ctx;
    }
    // The specification lets a sender split it.
    let all = headers().collect::<Vec<_>>().join(",");
    // The SDK takes nothing for a mistake, and says so.
    match Some(all).filter(|all| !all.is_empty()).and_then(|all| Baggage::decode(&all)) {
        Some(baggage) => ctx.with_wire_value(baggage),
        None => ctx,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<Baggage> {
        Baggage::read(header, &["tenant".to_owned(), "tier".to_owned()])
    }

    #[test]
    fn only_keys_that_are_let_in_go_on() {
        let baggage = read("session=s3cret, tenant=acme;since=2020, tier=gold%20one").unwrap();
        assert_eq!((baggage.get("tenant"), baggage.get("session")), (Some("acme"), None));
        assert_eq!(baggage.get("tier"), Some("gold one"));
        assert!(!baggage.encode().contains("s3cret") && !baggage.encode().contains("session"));
        assert_eq!(read(&baggage.encode()), Some(baggage));
    }

    #[test]
    fn what_is_nothing_too_long_or_no_baggage_is_left_out() {
        let long = format!("tenant=acme,tier={}", "x".repeat(9000));
        for header in ["", "session=s", "tenant", "=,;", &long] {
            assert_eq!(read(header), None, "{header}");
        }
    }

    #[test]
    fn a_value_is_the_same_after_each_hop() {
        for written in ["50%2525", "a%2Cb%3Bc%3Dd", "%C3%A9%20%22%5C", "%252541"] {
            let baggage = read(&format!("tenant={written}")).unwrap();
            let next = read(&baggage.encode()).unwrap();
            assert_eq!(next.get("tenant"), baggage.get("tenant"), "{written}");
        }
    }
}
