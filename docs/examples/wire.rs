//! What of a context crosses to another process.

use std::borrow::Cow;
use std::time::Duration;

use downhaul_context::wire::{Extract, Names, inject};
use downhaul_context::{Context, RequestId, WireValue};

// ANCHOR: opt_in
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
// ANCHOR_END: opt_in

fn main() {
    // ANCHOR: cross
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_secs(2));
    let ctx = ctx.with_value(RequestId::generate()).with_wire_value(Tenant("acme".to_owned()));
    let headers = inject(&ctx, &Names::HTTP, Duration::from_millis(50));

    // The other process:
    let pairs = headers.iter().map(|(name, text)| (name.as_ref(), text.as_bytes()));
    let extract = Extract::new(&Names::HTTP).cap(Duration::from_secs(30)).accept::<Tenant>();
    let (there, _canceller) = extract.from_pairs(pairs).apply(&Context::background());
    assert!(there.value::<Tenant>().is_some_and(|tenant| tenant.0 == "acme"));
    assert_eq!(there.value::<RequestId>(), ctx.value::<RequestId>());
    assert!(there.remaining() < Some(Duration::from_secs(2)));
    // ANCHOR_END: cross
}
