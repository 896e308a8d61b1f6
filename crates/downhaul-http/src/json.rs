//! [`Json`]: an answer in JSON.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::error::Error;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers with a value as JSON: 200, or another status as `(StatusCode::CREATED, Json(value))`.
///
/// A value that cannot be serialized is answered with 500.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper that is built and taken apart by hand")]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let mut response = Response::new(Body::from(json));
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            }
            Err(error) => Error::internal(error).into_response(),
        }
    }
}
