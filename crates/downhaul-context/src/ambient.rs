//! For whom a thread works just now, for what writes lines and makes spans.
//!
//! Code passes its contexts and asks nobody for them. What is called without one, as a `tracing`
//! layer is, can ask here for their values. The servers and consumers of this workspace [`enter`]
//! the contexts of their requests and messages, which costs nothing before somebody
//! [tracks](track) them.
//!
//! # Examples
//!
//! ```
//! use downhaul_context::{Context, RequestId, ambient};
//!
//! ambient::track();
//! let ctx = Context::background().with_value(RequestId::parse("id-1").unwrap());
//! let inside = ambient::enter(&ctx);
//! assert_eq!(ambient::value::<RequestId>().unwrap().as_str(), "id-1");
//! drop(inside);
//! assert_eq!(ambient::value::<RequestId>(), None);
//! ```

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;

use crate::context::Context;
use crate::values::Values;

static IS_TRACKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CURRENT: RefCell<Values> = const { RefCell::new(Values::NONE) };
}

/// Keeps track from now on, as long as the process runs, of what is entered after this.
pub fn track() {
    IS_TRACKED.store(true, Ordering::Relaxed);
}

/// The nearest value of the type in the context that this thread works for, if that is
/// [tracked](track).
///
/// # Panics
///
/// If to clone the value panics.
#[must_use]
pub fn value<T: Any + Clone + Send + Sync>() -> Option<T> {
    // A thread that ends has none. To clone it may ask again, or enter another.
    let current = CURRENT.try_with(|current| current.borrow().clone()).ok()?;
    current.get().cloned()
}

/// Works for `ctx` on this thread, until the guard is dropped. Drop guards in the reverse of their
/// order.
#[inline]
pub fn enter(ctx: &Context) -> Entered {
    let before = IS_TRACKED.load(Ordering::Relaxed).then(|| replace(ctx.values.clone()));
    Entered { before, _on_this_thread: PhantomData }
}

/// Works for `ctx` whenever the future is polled, and while it is dropped.
#[inline]
pub fn within<F>(ctx: &Context, future: F) -> Within<F> {
    let ctx = IS_TRACKED.load(Ordering::Relaxed).then(|| ctx.clone());
    Within { ctx, future: Some(future) }
}

fn replace(values: Values) -> Values {
    CURRENT.try_with(|current| current.replace(values)).unwrap_or_default()
}

/// See [`enter`].
#[must_use = "it is left at once if this is dropped"]
pub struct Entered {
    /// What to go back to, where this is tracked.
    before: Option<Values>,
    _on_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            replace(before);
        }
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").finish_non_exhaustive()
    }
}

pin_project! {
    /// See [`within`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Within<F> {
        ctx: Option<Context>,
        // So that it can be dropped inside, before the rest.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Within<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _inside = this.ctx.as_ref().map(enter);
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _inside = this.ctx.as_ref().map(enter);
        this.future.as_pin_mut().expect("it is there until this is dropped").poll(cx)
    }
}
