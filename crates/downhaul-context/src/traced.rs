//! Errors with their context: through which layers one came, with which values, for which request,
//! how long it had run, and what cut it short.
//!
//! Each layer of a service keeps an error enum of its own, and adds one call where an error passes
//! it: [`layer`](ResultExt::layer) gives the place a name, [`kv`](ResultExt::kv) adds what is worth
//! knowing there, and [`map_kind`](ResultExt::map_kind) turns the error of the layer below into
//! one of this layer, as `map_err` does.
//!
//! ```
//! use downhaul_context::{Class, Context, Kind, RequestId, ResultExt, Traced};
//! use std::io;
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the query failed")]
//! struct QueryError(#[source] io::Error);
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the orders cannot be read")]
//! struct OrderError(#[source] QueryError);
//!
//! impl Kind for OrderError {
//!     fn class(&self) -> Class {
//!         Class::Unavailable
//!     }
//! }
//!
//! const QUERY: &str = "SELECT * FROM orders WHERE id = ?";
//!
//! fn find(ctx: &Context, id: u64) -> Result<(), Traced<QueryError>> {
//!     let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
//!     Err(QueryError(refused)).layer(ctx, "repo.find").kv("query", QUERY).kv("id", id)
//! }
//!
//! fn order(ctx: &Context, user: u64, token: &str) -> Result<(), Traced<OrderError>> {
//!     let found = find(ctx, 7).map_kind(OrderError);
//!     found.layer(ctx, "orders.get").kv("user_id", user).kv_secret("token", token)
//! }
//!
//! fn handle(ctx: &Context) -> Result<(), Traced<OrderError>> {
//!     order(ctx, 42, "s3cret").layer(ctx, "http.get_order")
//! }
//!
//! let ctx = Context::background().with_value(RequestId::parse("r-1").unwrap());
//! let error = handle(&ctx).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "http.get_order: orders.get{user_id=42, token=<redacted>}: \
//!      repo.find{query=\"SELECT * FROM orders WHERE id = ?\", id=7}: \
//!      the orders cannot be read: the query failed: connection refused [request_id=r-1]"
//! );
//! println!("{error:#}");
//! ```
//!
//! The last line prints the tree, as a `main` that returns the error does:
//!
//! ```text
//! http.get_order at src/main.rs:34:32
//! └ orders.get{user_id=42, token=<redacted>} at src/main.rs:30:11
//!   └ repo.find{query="SELECT * FROM orders WHERE id = ?", id=7} at src/main.rs:25:30
//!     └ the orders cannot be read
//!       └ the query failed
//!         └ connection refused
//!   request_id=r-1
//! ```
//!
//! # What to reach for
//!
//! | I want to | with |
//! |---|---|
//! | name the place that an error passes | [`ResultExt::layer`]; [`Traced::new`] to begin one |
//! | add a value; a secret | [`ResultExt::kv`]; [`ResultExt::kv_secret`] |
//! | change the error and keep its layers | [`ResultExt::map_kind`] |
//! | say what becomes of it | [`Kind`] |
//! | match on it; look for what is behind it | [`Traced::error`]; [`find`](Details::find) |
//! | know whether the work was cut short | [`is_cancelled`], [`is_deadline`] |
//! | log it | `{}`; [`log_once`](Details::log_once) where others may log it, too |
//! | print any error in a line | [`one_line`] |
//!
//! [`is_cancelled`]: Details::is_cancelled
//! [`is_deadline`]: Details::is_deadline
//!
//! # Rules of use
//!
//! 1. A layer adds and returns, and the outermost logs, so that one failure is one line. A server
//!    logs what its handlers return, and so does a consumer.
//! 2. Values are for people. What a program has to know goes into the error enum.
//! 3. The name of a layer is one of few: ids are values.
//!
//! # Where it goes
//!
//! A [`Traced`] error is not an [`Error`], as `anyhow::Error` is none: so its `{}` can be the whole
//! line, and no source says a part of it again. By `?` it becomes a `Box<dyn Error>` in which a
//! [`TracedError`] is, whose source is the error itself. So whoever walks the sources finds them
//! all, and whoever prints them prints each text once.
//!
//! # What it costs
//!
//! Nothing, where there is no error: no allocation, and a `Result<(), Traced<E>>` is as large as a
//! pointer. The first layer of an error allocates once, if the context has no values that are
//! printed; each further layer, and values, allocate a little. To look at the context takes its
//! ancestors' locks, one at a time and once.

mod details;
mod erased;
mod kind;
mod layer;
mod print;
mod result_ext;
mod situation;
mod trace;

use std::error::Error;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::panic::Location;

pub use self::details::Details;
pub use self::erased::TracedError;
pub use self::kind::{Class, Kind};
pub use self::layer::Layer;
pub use self::print::one_line;
pub use self::result_ext::{IntoTraced, IsTraced, ResultExt};

use self::layer::Shown;
use self::trace::Trace;
use crate::context::Context;

/// An error of the application with the layers that it came through and the context in which it
/// arose.
///
/// `{}` is one line with all of it, `{:#}` and `Debug` are the tree; both are for people, and their
/// form may change. See the [module](self) for a whole program.
pub struct Traced<E>(Box<Details<E>>);

impl<E: Error + Send + Sync + 'static> Traced<E> {
    /// Begins with an error that arises here, in the layer `name`.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::{Context, Traced};
    /// use std::fmt;
    ///
    /// let ctx = Context::background();
    /// let error = Traced::new(&ctx, "orders.get", fmt::Error).kv("order", 7);
    /// assert!(error.to_string().starts_with("orders.get{order=7}: "));
    /// ```
    #[track_caller]
    #[cold]
    pub fn new(ctx: &Context, name: &'static str, error: E) -> Self {
        Self(Box::new(Details { trace: Trace::begin(ctx, name, Location::caller()), error }))
    }
}

impl<E> Traced<E> {
    /// As [`ResultExt::layer`].
    #[track_caller]
    #[must_use]
    #[cold]
    pub fn layer(mut self, name: &'static str) -> Self {
        self.0.trace.push(name, Location::caller());
        self
    }

    /// As [`ResultExt::kv`].
    #[must_use]
    #[cold]
    pub fn kv(mut self, key: &'static str, value: impl Display) -> Self {
        self.0.trace.set(key, Shown::text(value));
        self
    }

    /// As [`ResultExt::kv_secret`].
    #[must_use]
    #[cold]
    pub fn kv_secret<V: ?Sized>(mut self, key: &'static str, _value: &V) -> Self {
        self.0.trace.set(key, Shown::Secret);
        self
    }

    /// As [`ResultExt::map_kind`].
    #[must_use]
    #[cold]
    pub fn map_kind<F>(self, change: impl FnOnce(E) -> F) -> Traced<F> {
        let Details { trace, error } = *self.0;
        Traced(Box::new(Details { trace, error: change(error) }))
    }

    /// The error itself, to match on.
    pub fn error(&self) -> &E {
        &self.0.error
    }

    /// The error itself, without its layers.
    pub fn into_error(self) -> E {
        self.0.error
    }
}

impl<E: Kind> Traced<E> {
    /// The class of its kind. If that is [`Class::Internal`], and the work was cut short, that is
    /// what it failed of: [`Class::Timeout`] or [`Class::Unavailable`].
    pub fn class(&self) -> Class {
        match (self.error().class(), self.cause()) {
            (Class::Internal, Some(cause)) => Class::of(cause),
            (class, _) => class,
        }
    }

    /// The `error.type` of its kind.
    pub fn error_type(&self) -> &'static str {
        self.error().error_type()
    }

    /// Whether its kind says that the same message would fail again.
    pub fn is_permanent(&self) -> bool {
        self.error().is_permanent()
    }
}

impl<E: Error + Send + Sync + 'static> Deref for Traced<E> {
    type Target = Details;

    fn deref(&self) -> &Details {
        &*self.0
    }
}

/// The tree where `{:#}` is asked for, else the line.
impl<E: Error + Send + Sync + 'static> Display for Traced<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&**self, f)
    }
}

/// The tree.
impl<E: Error + Send + Sync + 'static> fmt::Debug for Traced<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
