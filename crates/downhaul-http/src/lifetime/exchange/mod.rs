//! [`Exchange`]: what one request holds, from its head to the last byte of its answer.

mod answer;
mod end;

use std::sync::Arc;

use downhaul_context::{Canceller, Cause, CauseKind, Context, Instant, RequestId, ambient};
use http::{HeaderName, StatusCode, Version};
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span, error};

use crate::lifetime::answer_body::Lifetime;
use crate::lifetime::body::Body;
use crate::lifetime::head::{self, Head};
use crate::lifetime::in_flight::{self, Handling, InFlight};
use crate::lifetime::tracked::Carried;
use crate::observe::{Ending, RequestHead};
use crate::serve::link::Link;
use crate::serve::stream_executor;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static(head::X_REQUEST_ID);

/// As much as one frame of HTTP/2 has.
const PIECE: usize = 16 << 10;

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
    /// How much of the answer was handed over, in bytes.
    sent: u64,
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
        let limits = &link.hub.limits;
        let id = match limits.client_request_id {
            true => read.request_id(),
            false => RequestId::generate(),
        };
        let budget = limits.counting(read.budget);
        let timeout = limits.bounded(budget);
        let (started, line) = (Instant::now(), in_flight::line(method, uri));
        let (ctx, canceller) =
            link.ctx.derive().label(line.clone()).timeout_since(started, timeout).build();
        let in_flight = link.begin_request(started, id, method.clone(), line);
        if let Some(budget) = budget {
            in_flight.set_budget(budget);
        }
        let trace = read.trace();
        let head = RequestHead {
            id: &in_flight.id,
            trace: trace.as_ref(),
            method,
            uri,
            version: request.version(),
            headers,
            peer: &link.peer,
            scheme: link.scheme,
        };
        let observer = &link.hub.observer;
        let (span, place) = observer.open(&head);
        let place = place.or_else(|| trace.clone());
        let ctx = observer.bind(head::bind(&ctx, in_flight.id.clone(), place), &head);
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
            sent: 0,
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
        let task = tokio::spawn(ambient::within(&self.ctx, kept).instrument(self.span.clone()));
        self.request.handled_by(task.abort_handle());
        self.handling = true;
        task
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
}

impl Lifetime for Exchange {
    fn ctx(&self) -> Context {
        self.request.granted_ctx().unwrap_or_else(|| self.ctx.clone())
    }

    fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = ambient::enter(&self.ctx);
        self.span.in_scope(work)
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

    fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
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
            self.inside(|| error!(error = why, "the answer broke off: {ending}"));
        }
    }
}
