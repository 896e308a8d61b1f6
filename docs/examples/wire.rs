//! What of a context crosses to another process, and what is made of it there.

use std::borrow::Cow;
use std::time::Duration;

use downhaul_context::wire::{Budget, Extract, Names, inject};
use downhaul_context::{CauseKind, Context, RequestId, WireValue};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    there_and_back();
    capped();
    whatever_comes();
    grpc();
    printed();
}

// ANCHOR: opt_in
#[derive(Debug, PartialEq)]
struct Tenant(String);

impl WireValue for Tenant {
    const NAME: &'static str = "tenant";

    fn encode(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    /// What comes from outside is checked here, and only here.
    fn decode(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        valid.then(|| Self(text.to_owned()))
    }
}
// ANCHOR_END: opt_in

type Headers = Vec<(Cow<'static, str>, String)>;

// ANCHOR: send
/// The side that calls: what it writes beside the request.
fn call(ctx: &Context) -> Headers {
    // The way back takes time too: the other side is to give up 50 ms before this one does.
    inject(ctx, &Names::HTTP, 50 * MS)
}
// ANCHOR_END: send

// ANCHOR: receive
/// The side that is called: what it makes of the headers.
fn serve(server: &Context, headers: &Headers) -> Option<Duration> {
    let extract = Extract::new(&Names::HTTP).cap(30 * SECOND).accept::<Tenant>();
    let pairs = headers.iter().map(|(name, text)| (name.as_ref(), text.as_bytes()));
    let (request, _request) = extract.from_pairs(pairs).apply(server);
    assert!(request.value::<RequestId>().is_some(), "one that came, or a fresh one");
    request.remaining()
}
// ANCHOR_END: receive

// ANCHOR: there
fn there_and_back() {
    let (ctx, _canceller) = Context::background().with_timeout(2 * SECOND);
    let ctx = ctx.with_value(RequestId::generate()).with_wire_value(Tenant("acme".to_owned()));

    let headers = call(&ctx);
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["x-request-id", "x-request-timeout-ms", "tenant"]);
    assert_eq!(serve(&Context::background(), &headers), Some(1_950 * MS));
}
// ANCHOR_END: there

// ANCHOR: capped
fn capped() {
    let greedy = [("x-request-timeout-ms", b"9999999999".as_slice())];
    // Wrong: whoever calls decides how long this process works for them.
    let found = Extract::new(&Names::HTTP).from_pairs(greedy);
    assert!(found.budget() > Some(100 * 86_400 * SECOND));

    // Right: no more than this, and no less where they say nothing.
    let extract = Extract::new(&Names::HTTP).cap(30 * SECOND);
    assert_eq!(extract.from_pairs(greedy).budget(), Some(30 * SECOND));
    assert_eq!(extract.from_pairs([]).budget(), Some(30 * SECOND));
}
// ANCHOR_END: capped

// ANCHOR: whatever
fn whatever_comes() {
    let forged: [(&str, &[u8]); 4] = [
        ("x-request-id", b"7\nINFO paid=true"),
        ("x-request-timeout-ms", b"-5"),
        ("tenant", b"\xff\xfe"),
        ("cookie", b"not ours, so it is left alone"),
    ];
    let found = Extract::new(&Names::HTTP).accept::<Tenant>().from_pairs(forged);
    assert_eq!((found.rejected(), found.is_fresh(), found.budget()), (3, true, None));

    // There was no time left when it was sent: there is nothing to begin.
    let late = [("x-request-timeout-ms", b"0".as_slice())];
    let (ctx, _canceller) =
        Extract::new(&Names::HTTP).from_pairs(late).apply(&Context::background());
    assert_eq!(ctx.cause().map(|cause| cause.kind()), Some(CauseKind::Deadline));
}
// ANCHOR_END: whatever

// ANCHOR: grpc
fn grpc() {
    let (ctx, _canceller) = Context::background().with_timeout(1_500 * MS);
    let budget = ctx.remaining().map(Budget::new);
    assert_eq!(budget.map(Budget::to_grpc).as_deref(), Some("1500000u"));
    assert_eq!(Budget::from_grpc(b"1500m").map(Budget::span), Some(1_500 * MS));
}
// ANCHOR_END: grpc

// ANCHOR: printed
struct ApiKey(&'static str);

impl WireValue for ApiKey {
    const NAME: &'static str = "api-key";
    const REDACTED: bool = true;

    fn encode(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }

    fn decode(_text: &str) -> Option<Self> {
        None // this side only sends it
    }
}

fn printed() {
    let ctx = Context::background().with_wire_value(Tenant("acme".to_owned()));
    let ctx = ctx.with_wire_value(ApiKey("s3cr3t"));
    let text = format!("{ctx:?}");
    assert!(text.contains(r#"{"api-key": <redacted>, "tenant": "acme"}"#), "{text}");
}
// ANCHOR_END: printed
