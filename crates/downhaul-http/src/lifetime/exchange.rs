//! [`Exchange`]: what one request holds, from its head to the last byte of its answer.

use std::any::Any;
use std::sync::Arc;

use axum_core::response::IntoResponse;
use bytes::Bytes;
use downhaul_context::{Canceller, Cause, CauseKind, Context, Instant, Reason};
use http::response::Parts;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tracing::{Instrument, Span, debug, error, warn};

use crate::error::{BoxError, Error, Problem};
use crate::lifetime::answer_body::{AnswerBody, Lifetime, Payload, is_upgrade, panic_text};
use crate::lifetime::body::Body;
use crate::lifetime::head::{self, Head};
use crate::lifetime::in_flight::{self, Handling, InFlight, Upload};
use crate::lifetime::tracked::Carried;
use crate::observe::{Ending, Outcome, RequestHead};
use crate::problem;
use crate::serve::hub::Stage;
use crate::serve::limits::OnDisconnect;
use crate::serve::link::Link;
use crate::serve::stream_executor;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static(head::X_REQUEST_ID);
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// As much as one frame of HTTP/2 has.
const PIECE: usize = 16 << 10;

/// What access logs call a client that went away. No client ever reads it.
const CLIENT_GONE: u16 = 499;

/// What one request holds from its head to the last byte of its answer; dropped then, it ends the
/// request's context and tells the observer.
pub(crate) struct Exchange {
    // Before the canceller: a context that nobody holds any more needs no ending.
    ctx: Context,
    canceller: Option<Canceller>,
    has_time: bool,
    request: Arc<InFlight>,
    span: Span,
    version: Version,
    status: StatusCode,
    ending: Ending,
    /// Whether a handler was spawned and nobody else sees to its end.
    handling: bool,
    /// When there was an answer, where it comes in pieces.
    answered: Option<Instant>,
    /// Whether all of the answer was handed over.
    complete: bool,
}

impl Exchange {
    pub(crate) fn open(
        link: &Arc<Link>,
        request: &http::Request<Incoming>,
        read: &Head<'_>,
    ) -> Self {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let id = read.request_id();
        let limits = &link.hub.limits;
        let budget = limits.counting(read.budget);
        let timeout = limits.bounded(budget);
        let (started, line) = (Instant::now(), in_flight::line(method, uri));
        let (ctx, canceller) =
            link.ctx.derive().label(line.clone()).timeout_since(started, timeout).build();
        let ctx = read.bind(&ctx, &id);
        let in_flight = link.begin_request(started, id, method.clone(), line);
        if let Some(budget) = budget {
            in_flight.set_budget(budget);
        }
        let head = RequestHead {
            id: &in_flight.id,
            method,
            uri,
            version: request.version(),
            headers,
            peer: &link.peer,
            scheme: link.scheme,
        };
        let (ctx, span) = link.hub.observer.open(ctx, &head);
        Self {
            ctx,
            canceller: Some(canceller),
            has_time: !timeout.is_zero(),
            request: in_flight,
            span,
            version: request.version(),
            status: StatusCode::OK,
            ending: Ending::Answered,
            handling: false,
            answered: None,
            complete: false,
        }
    }

    /// The request as the service sees it.
    pub(crate) fn equip(&self, request: http::Request<Incoming>) -> http::Request<Body> {
        let in_flight = &self.request;
        let carried = Carried { ctx: self.ctx.clone(), request: Arc::clone(in_flight) };
        let body = |body| Body::inbound(body, in_flight);
        if in_flight.link.hub.serves_router {
            return request.map(|incoming| body(incoming).carrying(carried));
        }
        let mut request = request.map(body);
        let uri = request.uri().clone();
        carried.expose(request.extensions_mut(), &uri);
        request
    }

    /// Runs the handler in a task, which keeps the request in flight: a drain waits for it even
    /// where the client got its answer already.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        handler: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let guard = Handling(Arc::clone(&self.request));
        let kept = async move {
            let _guard = guard;
            handler.await
        };
        let task = tokio::spawn(kept.instrument(self.span.clone()));
        self.request.handled_by(task.abort_handle());
        self.handling = true;
        task
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn request(&self) -> &InFlight {
        &self.request
    }

    /// Whether the client has left any time for it.
    pub(crate) fn has_time(&self) -> bool {
        self.has_time
    }

    /// The context has ended and the handler has not.
    pub(crate) fn cancelled(&self) {
        self.request.cancelled();
    }

    /// Answers with what the service has made of the request.
    pub(crate) fn conclude<B, E>(
        self,
        answered: Result<http::Response<B>, E>,
    ) -> http::Response<AnswerBody<B, Self>>
    where
        B: HttpBody<Data = Bytes>,
        E: Into<BoxError>,
    {
        match answered {
            Ok(response) => self.finish(response),
            Err(source) => self.refuse(Error::internal(source), Ending::Failed),
        }
    }

    fn finish<B: HttpBody<Data = Bytes>>(
        self,
        response: http::Response<B>,
    ) -> http::Response<AnswerBody<B, Self>> {
        let failed = response.status().as_u16() >= 400;
        match self.request.upload() {
            // The service saw only that its body broke.
            Upload::TooLarge if failed => {
                return self.refuse(Error::too_large(), Ending::BodyTooLarge);
            }
            Upload::Stalled if failed => {
                return self.refuse(Error::late_body(), Ending::LateBody);
            }
            _ => {}
        }
        let (mut parts, body) = response.into_parts();
        let payload = match problem::named(&mut parts, &body, &self.request.id) {
            Some(document) => Payload::Ours { bytes: Some(document) },
            None => Payload::Theirs { body },
        };
        self.send(parts, payload)
    }

    /// Answers in place of the service.
    pub(crate) fn refuse<B: HttpBody<Data = Bytes>>(
        mut self,
        error: Error,
        ending: Ending,
    ) -> http::Response<AnswerBody<B, Self>> {
        self.ending = ending;
        let response = self.span.in_scope(|| error.into_response());
        let (mut parts, _) = response.into_parts();
        let problem = parts.extensions.remove::<Arc<Problem>>();
        let bytes = problem.map(|problem| problem.render(Some(&self.request.id)));
        // What is left of a body that nobody reads would be taken for the next request.
        if ends_connection(ending) || self.request.upload() != Upload::Complete {
            self.close_after(&mut parts);
        }
        self.send(parts, Payload::Ours { bytes })
    }

    pub(crate) fn refuse_failed<B: HttpBody<Data = Bytes>>(
        self,
        failed: JoinError,
    ) -> http::Response<AnswerBody<B, Self>> {
        let Ok(panic) = failed.try_into_panic() else {
            // Aborted: only a drain that has come to its end does that.
            let error = Error::unavailable("the server is stopping; try again");
            return self.refuse(error, Ending::Cancelled);
        };
        self.refuse_panicked(&*panic)
    }

    pub(crate) fn refuse_panicked<B: HttpBody<Data = Bytes>>(
        self,
        panic: &(dyn Any + Send),
    ) -> http::Response<AnswerBody<B, Self>> {
        self.span.in_scope(|| error!(panic = panic_text(panic), "handler panicked"));
        let message = "the server failed; tell its operators the request id";
        let error = Error::new(StatusCode::INTERNAL_SERVER_ERROR, message);
        self.refuse(error, Ending::Panicked)
    }

    fn send<B: HttpBody<Data = Bytes>>(
        mut self,
        mut parts: Parts,
        payload: Payload<B>,
    ) -> http::Response<AnswerBody<B, Self>> {
        if let Ok(id) = HeaderValue::from_bytes(self.request.id.as_bytes()) {
            parts.headers.insert(X_REQUEST_ID, id);
        }
        if self.request.link.hub.has_reached(Stage::LameDuck) {
            self.close_after(&mut parts);
        }
        self.handling = false;
        self.status = parts.status;
        self.request.answering();
        // One of a known size goes out at once; the clock would say the same twice.
        self.answered = payload.size_hint().exact().is_none().then(Instant::now);
        stream_executor::begin(&self.request, &self.ctx);
        self.request.link.answered(self.request.upload() != Upload::Complete);
        self.request.link.set_ends_answer(self.version < Version::HTTP_11);
        let payload = payload.fit(&self.request.method, &mut parts);
        let body = AnswerBody::new(&parts.headers, payload, self);
        http::Response::from_parts(parts, body)
    }

    /// Closes the connection after this answer. HTTP/2 has no header for that.
    fn close_after(&self, parts: &mut Parts) {
        let upgrades = is_upgrade(&self.request.method, parts.status);
        if self.version <= Version::HTTP_11 && !upgrades {
            parts.headers.insert(header::CONNECTION, CLOSE);
        }
    }

    /// Answers in place of a handler that did not end when its context did.
    pub(crate) fn refuse_overdue<B: HttpBody<Data = Bytes>>(
        mut self,
    ) -> http::Response<AnswerBody<B, Self>> {
        let error = self.ctx().cause().map_or_else(Error::timeout, Error::from);
        if error.status() != StatusCode::GATEWAY_TIMEOUT {
            // It had its grace before this answer.
            self.handling = false;
            self.span.in_scope(|| abort(&self.request));
            return self.refuse(error, Ending::Cancelled);
        }
        self.end_handler(None);
        match self.request.upload() {
            Upload::Awaited => self.refuse(Error::late_body(), Ending::LateBody),
            _ => self.refuse(error, Ending::Deadline),
        }
    }

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
        self.ending = Ending::ClientGone;
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
    fn end_handler(&mut self, canceller: Option<Canceller>) {
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
        runtime.spawn(end.instrument(self.span.clone()));
    }
}

/// Whether no other request is to come on the connection of one that ended so.
fn ends_connection(ending: Ending) -> bool {
    use Ending::{BodyTooLarge, Cancelled, LateBody, Malformed};
    matches!(ending, BodyTooLarge | Cancelled | LateBody | Malformed)
}

/// Aborts the handler of a request, which has had its grace.
fn abort(request: &InFlight) {
    let grace = request.cancel_grace();
    match request.upload() {
        // It reads what the client does not send, which is no fault of its own.
        Upload::Awaited => debug!(?grace, "handler waited for its body: aborted"),
        _ => warn!(?grace, "handler did not end after its context did: aborted"),
    }
    request.abort();
}

impl Lifetime for Exchange {
    fn ctx(&self) -> Context {
        self.request.granted_ctx().unwrap_or_else(|| self.ctx.clone())
    }

    /// HTTP/2 keeps to itself what it is handed, whatever the window of the client takes of it, so
    /// it gets little: the answer is in flight as long as there is more.
    fn piece(&self) -> usize {
        if self.version == Version::HTTP_2 { PIECE } else { usize::MAX }
    }

    fn asked(&self, is_there: bool) {
        if self.version == Version::HTTP_2 {
            stream_executor::asked(is_there);
        }
    }

    fn complete(&mut self) {
        self.complete = true;
        self.request.link.set_ends_answer(false);
    }

    fn cut(&mut self, cause: &Cause) {
        self.ending = match cause.kind() {
            CauseKind::Deadline => Ending::Deadline,
            _ => Ending::Cancelled,
        };
        self.complete = true;
    }

    fn broke_off(&mut self, ending: Ending, why: &str) {
        if !self.complete {
            self.ending = ending;
            self.complete = true;
            self.span.in_scope(|| error!(error = why, "the answer broke off: {ending}"));
        }
    }
}

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
        request.link.handed_over(now);
        let outcome = Outcome {
            ctx: &self.ctx,
            method: &request.method,
            path: request.path(),
            version: self.version,
            scheme: request.link.scheme,
            route: request.route.get().map(|route| &**route),
            status: self.status,
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
