//! The bridge to tokio-util's `CancellationToken`, both ways.

use tokio_util::sync::CancellationToken;

use crate::canceller::Canceller;
use crate::cause::Reason;
use crate::context::Context;
use crate::registration::Registration;

impl Context {
    /// Derives a child that also ends when `token` is cancelled.
    ///
    /// No task is spawned, and nothing is left behind in the token when the child is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// # use tokio_util::sync::CancellationToken;
    /// let token = CancellationToken::new();
    /// let (ctx, _canceller) = Context::background().child_until_token(&token);
    /// token.cancel();
    /// assert!(ctx.cause().unwrap().to_string().contains("its token was cancelled"));
    /// ```
    #[track_caller]
    #[must_use]
    pub fn child_until_token(&self, token: &CancellationToken) -> (Self, Canceller) {
        let cancelled = token.clone().cancelled_owned();
        self.child_until(async {
            cancelled.await;
            Reason::cancelled("its token was cancelled")
        })
    }

    /// Returns a token that is cancelled when this context ends, for libraries that want one.
    ///
    /// Keep the registration as long as the token is used. Cancelling the token does not end the
    /// context. Of an end that time alone brings, the token hears as a callback of
    /// [`on_done`](Self::on_done) does: drain in a runtime that outlives the grace.
    ///
    /// # Panics
    ///
    /// As [`done`](Self::done).
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// let (ctx, canceller) = Context::root();
    /// let (token, _registration) = ctx.to_token();
    /// canceller.cancel();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn to_token(&self) -> (CancellationToken, Registration) {
        let token = CancellationToken::new();
        let cancelled = token.clone();
        (token, self.on_done(move |_| cancelled.cancel()))
    }
}
