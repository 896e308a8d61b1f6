//! How an [`Exchange`] ends, and its handler with it.

use std::sync::Arc;

use downhaul_context::{Canceller, Cause, Instant, Reason, ambient};
use http::{StatusCode, Version};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{Instrument, debug, warn};

use super::Exchange;
use crate::lifetime::answer_body::{Lifetime, is_upgrade};
use crate::lifetime::in_flight::{InFlight, Upload};
use crate::observe::{Ending, Outcome};
use crate::serve::hub::Stage;
use crate::serve::limits::OnDisconnect;

/// What access logs call a client that went away. No client ever reads it.
const CLIENT_GONE: u16 = 499;

impl Drop for Exchange {
    fn drop(&mut self) {
        let is_closed = !self.complete && self.request.link.hub.has_reached(Stage::Closed);
        if (is_closed || self.request.is_cut())
            && let Some(cause) = self.ctx().cause()
        {
            self.cut_off(&cause);
        } else if !self.complete || self.request.is_cut() || self.has_lost_its_body() {
            self.client_gone();
        }
        if self.is_upgraded() {
            self.request.upgraded();
            self.request.link.upgraded.keep(self.canceller.take(), Arc::clone(&self.request));
        }
        let (request, now) = (&self.request, Instant::now());
        request.link.clocks.handed_over(now);
        let outcome = Outcome {
            ctx: &self.ctx,
            method: &request.method,
            path: request.path(),
            version: self.version,
            scheme: request.link.scheme,
            peer: &request.link.peer,
            route: request.route.get().map(|route| &**route),
            status: self.status,
            sent: self.sent,
            handled: self.answered.unwrap_or(now).saturating_duration_since(request.started),
            took: now.saturating_duration_since(request.started),
            ending: self.ending,
        };
        request.link.hub.observer.close(&self.span, &outcome);
        // Where nobody keeps it, what was granted ends with it.
        if self.canceller.is_some() && Arc::strong_count(request) > 1 {
            request.over();
        }
    }
}

impl Exchange {
    /// Whether the connection goes on as something else.
    fn is_upgraded(&self) -> bool {
        let is_upgrade = is_upgrade(&self.request.method, self.status);
        self.complete && self.version <= Version::HTTP_11 && is_upgrade
    }

    /// Whether the handler says no more than that its client left before it had said all.
    fn has_lost_its_body(&self) -> bool {
        let failed = self.ending == Ending::Answered && self.status.as_u16() >= 400;
        failed && self.request.upload() == Upload::Lost
    }

    /// The server sends no more of the answer, or has closed the connection before there was one.
    fn cut_off(&mut self, cause: &Cause) {
        self.cut(cause);
        if self.handling {
            self.status = StatusCode::SERVICE_UNAVAILABLE;
            self.end_handler(None);
        }
    }

    fn client_gone(&mut self) {
        let is_stuck = self.request.is_stuck();
        self.ending = if is_stuck { Ending::ClientStuck } else { Ending::ClientGone };
        self.status = StatusCode::from_u16(CLIENT_GONE).unwrap_or(self.status);
        let hub = &self.request.link.hub;
        let finish = self.request.on_disconnect() == OnDisconnect::Finish;
        if finish && self.handling && !hub.has_reached(Stage::Closed) {
            let canceller = self.canceller.take();
            return self.end_handler(canceller);
        }
        if let Some(canceller) = &self.canceller {
            canceller.cancel_with(Reason::client_gone());
        }
        self.request.end_granted(Reason::client_gone());
        if self.handling {
            self.end_handler(None);
        }
    }

    /// Leaves the handler to a task that sees to its end. With the canceller it may go on as long
    /// as its context lasts; without, the context has ended.
    pub(super) fn end_handler(&mut self, canceller: Option<Canceller>) {
        self.handling = false;
        let request = Arc::clone(&self.request);
        let Ok(runtime) = Handle::try_current() else { return request.abort() };
        let ctx = self.ctx();
        let end = async move {
            tokio::select! {
                biased;
                () = request.handled() => return,
                _ = ctx.done() => request.cancelled(),
            }
            if timeout(request.cancel_grace(), request.handled()).await.is_err() {
                abort(&request);
            }
            let is_over = canceller.is_some();
            drop(canceller);
            if is_over {
                request.over();
            }
        };
        runtime.spawn(ambient::within(&self.ctx, end).instrument(self.span.clone()));
    }
}

/// Aborts the handler of a request, which has had its grace.
pub(super) fn abort(request: &InFlight) {
    let grace = request.cancel_grace();
    match request.upload() {
        // It reads what the client does not send, which is no fault of its own.
        Upload::Awaited => debug!(?grace, "handler waited for its body: aborted"),
        _ => warn!(?grace, "handler did not end after its context did: aborted"),
    }
    request.abort();
}
