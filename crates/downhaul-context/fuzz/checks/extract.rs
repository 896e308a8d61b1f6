//! `wire::Extract`: pairs of names and bytes, one a line, with a colon between.

use std::borrow::Cow;
use std::time::Duration;

use downhaul_context::wire::{Extract, Names};
use downhaul_context::{Context, RequestId, WireValue};

const CAP: Duration = Duration::from_secs(30);

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

pub(crate) fn check(bytes: &[u8]) {
    let pairs: Vec<_> = bytes.split(|byte| *byte == b'\n').filter_map(pair).collect();
    let known = ["x-request-id", "x-request-timeout-ms", "tenant"];
    let of =
        |name: &str| pairs.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name)).count();
    let extract = Extract::new(&Names::HTTP).cap(CAP).accept::<Tenant>();
    let found = extract.from_pairs(pairs.iter().copied());

    // Each pair of a known name is taken or counted; each name is taken once.
    let named: usize = known.into_iter().map(of).sum();
    let names = known.into_iter().filter(|name| of(name) > 0).count();
    assert!(found.rejected() <= named && named - found.rejected() <= names);
    assert!(found.budget().is_some_and(|budget| budget <= CAP));
    assert!(RequestId::parse(found.request_id().as_str()).is_ok());
    let ids = pairs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(known[0]));
    let came = |id: &[u8]| id == found.request_id().as_str().as_bytes();
    assert!(found.is_fresh() || ids.clone().any(|(_, id)| came(id)));

    let id = found.request_id().clone();
    let (ctx, _canceller) = found.apply(&Context::background());
    assert_eq!(ctx.value::<RequestId>(), Some(&id));
    let tenant = ctx.value::<Tenant>().map(|tenant| tenant.0.as_bytes());
    assert!(tenant.is_none_or(|tenant| pairs.iter().any(|(_, text)| *text == tenant)));
}

fn pair(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    Some((name, line[colon + 1..].trim_ascii()))
}
