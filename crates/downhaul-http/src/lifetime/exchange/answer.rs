//! How an [`Exchange`] is answered, by its service or in place of it.

use std::any::Any;
use std::sync::Arc;

use axum_core::response::IntoResponse;
use bytes::Bytes;
use downhaul_context::{CauseKind, Instant};
use http::response::Parts;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use http_body::Body as HttpBody;
use tokio::task::JoinError;
use tracing::error;

use super::end::abort;
use super::{Exchange, X_REQUEST_ID};
use crate::error::{BoxError, Error, Problem};
use crate::lifetime::answer_body::{AnswerBody, Lifetime, Payload, is_upgrade, panic_text};
use crate::lifetime::in_flight::Upload;
use crate::observe::Ending;
use crate::serve::hub::Stage;
use crate::serve::stream_executor;

/// What a header says of the body that it comes with, or of the way that this is sent.
const OF_A_BODY: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];
const CLOSE: HeaderValue = HeaderValue::from_static("close");

impl Exchange {
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
        mut self,
        response: http::Response<B>,
    ) -> http::Response<AnswerBody<B, Self>> {
        let failed = response.status().as_u16() >= 400;
        if let Some(ending) = self.said_itself(response.status()) {
            self.ending = ending;
        }
        match self.request.upload() {
            // The service saw only that its body broke.
            Upload::TooLarge if failed => {
                return self.replace(response, Error::too_large(), Ending::BodyTooLarge);
            }
            Upload::Stalled if failed => {
                return self.replace(response, Error::late_body(), Ending::LateBody);
            }
            _ => {}
        }
        let (mut parts, body) = response.into_parts();
        let payload = Payload::of(&mut parts, body, &self.request.id);
        self.send(parts, payload)
    }

    /// Refuses what the service has answered. What its layers have added to that stays, such as the
    /// headers of CORS, without which a page cannot read why.
    fn replace<B: HttpBody<Data = Bytes>>(
        self,
        response: http::Response<B>,
        error: Error,
        ending: Ending,
    ) -> http::Response<AnswerBody<B, Self>> {
        let mut refusal = self.refuse(error, ending);
        let own = refusal.headers().clone();
        for (name, value) in response.headers() {
            if !own.contains_key(name) && !OF_A_BODY.contains(name) {
                refusal.headers_mut().append(name, value.clone());
            }
        }
        refusal
    }

    /// The ending that a service tells of which says itself what the server would have said in its
    /// place.
    fn said_itself(&self, status: StatusCode) -> Option<Ending> {
        let said = match status {
            StatusCode::GATEWAY_TIMEOUT => Ending::Deadline,
            StatusCode::SERVICE_UNAVAILABLE => Ending::Cancelled,
            _ => return None,
        };
        let is_late = self.ctx().cause()?.kind() == CauseKind::Deadline;
        (is_late == (said == Ending::Deadline)).then_some(said)
    }

    /// Answers in place of the service.
    pub(crate) fn refuse<B: HttpBody<Data = Bytes>>(
        mut self,
        error: Error,
        ending: Ending,
    ) -> http::Response<AnswerBody<B, Self>> {
        self.ending = ending;
        let response = self.inside(|| error.into_response());
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
        self.inside(|| error!(panic = panic_text(panic), "handler panicked"));
        self.refuse(Error::panicked(), Ending::Panicked)
    }

    /// Answers in place of a handler that did not end when its context did.
    pub(crate) fn refuse_overdue<B: HttpBody<Data = Bytes>>(
        mut self,
    ) -> http::Response<AnswerBody<B, Self>> {
        let error = self.ctx().cause().map_or_else(Error::timeout, Error::from);
        if error.status() != StatusCode::GATEWAY_TIMEOUT {
            // It had its grace before this answer.
            self.handling = false;
            self.inside(|| abort(&self.request));
            return self.refuse(error, Ending::Cancelled);
        }
        self.end_handler(None);
        match self.request.upload() {
            Upload::Awaited => self.refuse(Error::late_body(), Ending::LateBody),
            _ => self.refuse(error, Ending::Deadline),
        }
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
}

/// Whether no other request is to come on the connection of one that ended so.
fn ends_connection(ending: Ending) -> bool {
    use Ending::{BodyTooLarge, Cancelled, LateBody, Malformed};
    matches!(ending, BodyTooLarge | Cancelled | LateBody | Malformed)
}
