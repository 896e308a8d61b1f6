//! [`Extract`]: reads what came over the wire, and [`Extracted`]: what was found.

use std::fmt;
use std::time::Duration;

use crate::canceller::Canceller;
use crate::context::Context;
use crate::opted_in::WireValue;
use crate::request_id::RequestId;
use crate::wire::{Budget, Names};

/// The longest text of a value that is read, in bytes: what proxies commonly allow for a header.
const LONGEST_VALUE: usize = 8_192;

type Bind = Box<dyn FnOnce(&Context) -> Context + Send>;

/// What to read of the pairs that came in.
#[derive(Clone, Debug)]
pub struct Extract {
    names: Names,
    cap: Option<Duration>,
    accepted: Vec<Accepted>,
}

/// One type of value that is read.
#[derive(Clone, Copy)]
struct Accepted {
    name: &'static str,
    decode: fn(&str) -> Option<Bind>,
}

impl Extract {
    /// Reads a request id and a budget.
    pub fn new(names: &Names) -> Self {
        Self { names: *names, cap: None, accepted: Vec::new() }
    }

    /// Grants no more than `cap`, whatever the other side asks for.
    ///
    /// It is also what [`Extracted::budget`] is where no valid budget came.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = Some(cap);
        self
    }

    /// Reads values of type `T` as well. What has no accepted name is left alone.
    #[must_use]
    pub fn accept<T: WireValue>(mut self) -> Self {
        let decode = |text: &str| {
            let value = T::decode(text)?;
            let bind: Bind = Box::new(|ctx| ctx.with_wire_value(value));
            Some(bind)
        };
        self.accepted.push(Accepted { name: T::NAME, decode });
        self
    }

    /// Reads pairs of names and bytes, each name's first.
    ///
    /// Names are compared without regard to case. Nothing that comes in makes it fail: what is not
    /// valid counts as absent, and [`Extracted::rejected`] counts it.
    pub fn from_pairs<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Extracted {
        let mut found =
            Found { values: self.accepted.iter().map(|_| None).collect(), ..Found::default() };
        for (name, bytes) in pairs {
            if name.eq_ignore_ascii_case(self.names.request_id) {
                let id =
                    || std::str::from_utf8(bytes).ok().and_then(|id| RequestId::parse(id).ok());
                found.rejected += usize::from(!fill(&mut found.request_id, id));
            } else if name.eq_ignore_ascii_case(self.names.budget) {
                let budget = || Budget::from_millis(bytes).map(Budget::span);
                found.rejected += usize::from(!fill(&mut found.budget, budget));
            } else if let Some(at) = self.position(name) {
                let bind = || text(bytes).and_then(self.accepted[at].decode);
                found.rejected += usize::from(!fill(&mut found.values[at], bind));
            }
        }
        self.finish(found)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.accepted.iter().position(|accepted| name.eq_ignore_ascii_case(accepted.name))
    }

    fn finish(&self, found: Found) -> Extracted {
        let is_fresh = found.request_id.is_none();
        Extracted {
            request_id: found.request_id.unwrap_or_else(RequestId::generate),
            is_fresh,
            budget: [found.budget, self.cap].into_iter().flatten().min(),
            values: found.values.into_iter().flatten().collect(),
            rejected: found.rejected,
        }
    }
}

#[derive(Default)]
struct Found {
    request_id: Option<RequestId>,
    budget: Option<Duration>,
    values: Vec<Option<Bind>>,
    rejected: usize,
}

/// Fills `place` unless it is filled: of two with one name, the first counts, and the second is
/// rejected as what is not valid is. Returns whether it did.
fn fill<T>(place: &mut Option<T>, read: impl FnOnce() -> Option<T>) -> bool {
    let read = if place.is_none() { read() } else { None };
    let filled = read.is_some();
    if filled {
        *place = read;
    }
    filled
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST_VALUE)
}

/// What came over the wire, as far as it was valid.
#[must_use = "`apply` makes a context of it"]
pub struct Extracted {
    request_id: RequestId,
    is_fresh: bool,
    budget: Option<Duration>,
    values: Vec<Bind>,
    rejected: usize,
}

impl Extracted {
    /// The request id that came, or a fresh one.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Whether no valid request id came.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// The time that is granted: the one that came, at most the [cap](Extract::cap).
    pub fn budget(&self) -> Option<Duration> {
        self.budget
    }

    /// How many pairs with a known name were not valid, or came again.
    pub fn rejected(&self) -> usize {
        self.rejected
    }

    /// Derives a child of `ctx` with the budget, the request id and the values.
    #[track_caller]
    pub fn apply(self, ctx: &Context) -> (Context, Canceller) {
        let derive = ctx.derive();
        let (ctx, canceller) = match self.budget {
            Some(budget) => derive.timeout(budget).build(),
            None => derive.build(),
        };
        let ctx = ctx.with_value(self.request_id.clone());
        (self.bind_values(ctx), canceller)
    }

    /// Binds the values alone, for those who give the context its id and its time otherwise.
    #[must_use]
    pub fn bind_values(self, ctx: Context) -> Context {
        self.values.into_iter().fold(ctx, |ctx, bind| bind(&ctx))
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Says how many values there are, and not what is in them.
impl fmt::Debug for Extracted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extracted")
            .field("request_id", &self.request_id)
            .field("budget", &self.budget)
            .field("values", &self.values.len())
            .field("rejected", &self.rejected)
            .finish_non_exhaustive()
    }
}
