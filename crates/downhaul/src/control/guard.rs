//! [`Guard`]: who may change things.

use std::net::IpAddr;

use downhaul_http::{Address, Error, Request};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};

use crate::handle::AppHandle;

/// Who may change things.
pub(super) struct Guard {
    pub(super) address: Address,
    pub(super) token: Option<String>,
}

impl Guard {
    pub(super) fn check(&self, req: &Request<AppHandle>) -> Result<(), Error> {
        let headers = req.headers();
        if self.address.is_local() && !is_this_machine(headers) {
            let words = "the host is not this machine's: use 127.0.0.1 or localhost";
            return Err(Error::new(StatusCode::MISDIRECTED_REQUEST, words));
        }
        if matches!(*req.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        if headers.contains_key(ORIGIN) {
            return Err(Error::new(StatusCode::FORBIDDEN, "not from a browser"));
        }
        match &self.token {
            Some(token) if !bears(headers, token) => {
                let words = match headers.contains_key(AUTHORIZATION) {
                    true => "the header `Authorization` has another token than this service",
                    false => "changing things takes the header `Authorization: Bearer <token>`",
                };
                tracing::warn!(path = req.uri().path(), "refused to change things: {words}");
                Err(Error::new(StatusCode::UNAUTHORIZED, words))
            }
            None if !self.address.is_local() => {
                let words = "read-only: without a token, only a loopback address takes changes";
                Err(Error::new(StatusCode::FORBIDDEN, words))
            }
            _ => Ok(()),
        }
    }
}

/// A page that a browser loaded under another name may not reach us by resolving that name to this
/// machine.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    host.is_none_or(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Compares in a time that does not tell how much of the token is right. An empty one, as of a
/// variable that is not set, is what everybody has: nobody bears it.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    // The scheme is written in any case (RFC 9110, 11.1).
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let given = given.map_or("", |(_, token)| token.trim_start());
    let differences = given.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    !token.is_empty() && given.len() == token.len() && differences == 0
}
