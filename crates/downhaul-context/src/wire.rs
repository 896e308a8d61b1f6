//! What of a context crosses to another process: the request id, the time that is left, and values
//! that opted in, as pairs of text for the headers of HTTP and of messages alike.
//!
//! A time goes as what is left of it, and never as a moment: clocks of two machines differ. What
//! comes in is somebody else's text: whatever it is, reading it never fails. What is not valid
//! counts as absent, and is counted.
//!
//! # Examples
//!
//! ```
//! use downhaul_context::wire::{Extract, Names, inject};
//! use downhaul_context::{Context, RequestId, WireValue};
//! use std::borrow::Cow;
//! use std::time::Duration;
//!
//! struct Tenant(String);
//!
//! impl WireValue for Tenant {
//!     const NAME: &'static str = "tenant";
//!     fn encode(&self) -> Cow<'_, str> {
//!         Cow::Borrowed(&self.0)
//!     }
//!     fn decode(text: &str) -> Option<Self> {
//!         (!text.is_empty()).then(|| Self(text.to_owned()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (ctx, _canceller) = Context::background().with_timeout(Duration::from_secs(2));
//! let ctx = ctx.with_value(RequestId::generate()).with_wire_value(Tenant("acme".to_owned()));
//! // The other side is to give up 50 ms before this one does.
//! let pairs = inject(&ctx, &Names::HTTP, Duration::from_millis(50));
//!
//! let extract = Extract::new(&Names::HTTP).cap(Duration::from_secs(30)).accept::<Tenant>();
//! let pairs = pairs.iter().map(|(name, text)| (name.as_ref(), text.as_bytes()));
//! let found = extract.from_pairs(pairs);
//! assert_eq!(found.budget(), Some(Duration::from_millis(1_950)));
//! let (there, _canceller) = found.apply(&Context::background());
//! assert_eq!(there.value::<RequestId>(), ctx.value::<RequestId>());
//! assert_eq!(there.value::<Tenant>().unwrap().0, "acme");
//! # }
//! ```

mod budget;
mod extract;

use std::borrow::Cow;
use std::time::Duration;

pub use self::budget::Budget;
pub use self::extract::{Extract, Extracted};

use crate::context::Context;
use crate::request_id::RequestId;

/// Under which names a request id and a budget travel. Values that opted in have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Names {
    /// The request id.
    pub request_id: &'static str,
    /// The budget, in whole milliseconds.
    pub budget: &'static str,
}

impl Names {
    /// Names of HTTP headers: what most proxies and services use.
    pub const HTTP: Self = Self { request_id: "x-request-id", budget: "x-request-timeout-ms" };
    /// Names of message headers, without the `x-` that RabbitMQ keeps for itself.
    pub const MESSAGE: Self = Self { request_id: "request-id", budget: "budget-ms" };
}

/// Writes what of `ctx` may cross, nearest values first.
///
/// `margin` is taken off the budget, so that the other side gives up before this one does; the rest
/// is rounded down to whole milliseconds. A context without a deadline writes no budget, and one
/// whose time is over writes zero.
pub fn inject(ctx: &Context, names: &Names, margin: Duration) -> Vec<(Cow<'static, str>, String)> {
    let mut pairs: Vec<(Cow<'static, str>, String)> = Vec::new();
    if let Some(id) = ctx.value::<RequestId>() {
        pairs.push((names.request_id.into(), id.to_string()));
    }
    if let Some(left) = ctx.remaining() {
        let budget = Budget::new(left.saturating_sub(margin));
        pairs.push((names.budget.into(), budget.to_millis()));
    }
    ctx.values.each_opted_in(|opted| pairs.push((opted.name.into(), opted.text.into_owned())));
    pairs
}
