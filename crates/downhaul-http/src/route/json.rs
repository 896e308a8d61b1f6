//! [`Json`]: an answer in JSON.

use std::cell::RefCell;
use std::mem;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde::Serialize;

use crate::error::Error;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How many bytes are copied rather than given away with all the room that they had to grow in.
const SHORT: usize = 4 << 10;

thread_local! {
    /// Where answers grow: most of them then take up no more than they are long.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers with a value as JSON: 200, or another status as `(StatusCode::CREATED, Json(value))`.
///
/// A value that cannot be serialized is answered with 500.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper that is built and taken apart by hand")]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serialized(&self.0) {
            Ok(json) => {
                let mut response = Response::new(Body::from(json));
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            }
            Err(error) => Error::internal(error).into_response(),
        }
    }
}

fn serialized<T: Serialize>(value: &T) -> serde_json::Result<Bytes> {
    SCRATCH.with(|scratch| {
        // Taken where serializing one value makes an answer of another.
        let Ok(mut json) = scratch.try_borrow_mut() else {
            return serde_json::to_vec(value).map(Bytes::from);
        };
        json.clear();
        let written = serde_json::to_writer(&mut *json, value);
        if json.len() > SHORT {
            // Also where it has failed: nobody keeps the room that one long answer took.
            let json = mem::take(&mut *json);
            return written.map(|()| Bytes::from(json));
        }
        written.map(|()| Bytes::copy_from_slice(&json))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_values_are_serialized_and_a_failure_leaves_nothing_behind() {
        let long = vec![7; SHORT];
        for _ in 0..2 {
            assert_eq!(serialized(&[1, 2]).unwrap(), "[1,2]");
            assert_eq!(serialized(&long).unwrap(), serde_json::to_vec(&long).unwrap());
            // A map whose keys are no texts is no JSON, which is found in the middle of it.
            let failed = std::collections::HashMap::from([((1, 2), 3)]);
            assert!(serialized(&failed).is_err());
        }
    }

    #[test]
    fn a_long_one_keeps_no_room_even_if_it_fails() {
        let long = "x".repeat(100 * SHORT);
        let failed = [(long.as_str(), std::collections::HashMap::from([((1, 2), 3)]))];
        assert!(serialized(&long).is_ok() && serialized(&failed).is_err());
        assert!(SCRATCH.with(|scratch| scratch.borrow().capacity()) <= 2 * SHORT);
    }

    #[test]
    fn one_that_is_serialized_within_another_is_whole() {
        struct Nested;
        impl Serialize for Nested {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                assert_eq!(serialized(&"inner").unwrap(), "\"inner\"");
                serializer.serialize_str("outer")
            }
        }
        assert_eq!(serialized(&[Nested, Nested]).unwrap(), r#"["outer","outer"]"#);
    }
}
