//! What the RFCs forbid in the head of a request and hyper lets through.
//!
//! Two servers that read one request in two ways are what request smuggling lives on, so what can
//! be read in two ways is refused, and the connection closed.

use std::net::Ipv6Addr;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::error::Error;
use crate::head::Head;

/// Why the request is refused, if it is.
pub(crate) fn objection<B>(request: &Request<B>, head: &Head<'_>) -> Option<Error> {
    // The target of a CONNECT is where to go on to, and need not be this host.
    let authority = request.uri().authority().filter(|_| request.method() != Method::CONNECT);
    let target = target(request.method(), request.uri());
    let host = || host(request.version(), authority, head);
    target.or_else(host).or_else(|| coding(head)).or_else(|| expectation(head))
}

/// The form of target that the method takes (RFC 9112 §3.2), and a scheme that is served here.
fn target(method: &Method, uri: &Uri) -> Option<Error> {
    if method == Method::CONNECT {
        let is_port = uri.port_u16().is_some() && uri.scheme().is_none();
        return (!is_port).then(|| Error::bad_request("CONNECT takes `host:port`; send that"));
    }
    match uri.scheme_str() {
        None if uri.authority().is_some() => {
            Some(Error::bad_request("the target is not a path; begin it with `/`"))
        }
        None | Some("http" | "https") if uri.path() == "*" && method != Method::OPTIONS => {
            Some(Error::bad_request("only OPTIONS takes `*`; send a path"))
        }
        None | Some("http" | "https") => None,
        Some(_) => {
            let words = "this scheme is not served here; send `http`";
            Some(Error::new(StatusCode::MISDIRECTED_REQUEST, words))
        }
    }
}

/// Exactly one valid `Host`, and the one that the target names (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn host(version: Version, target: Option<&Authority>, head: &Head<'_>) -> Option<Error> {
    match head.host {
        Some(_) if head.hosts > 1 => Some(Error::bad_request("two Host headers; send one")),
        Some(host) => not_the_host(host, target).map(Error::bad_request),
        None if version == Version::HTTP_11 => Some(Error::bad_request("no Host header; send one")),
        None => None,
    }
}

fn not_the_host(host: &HeaderValue, target: Option<&Authority>) -> Option<&'static str> {
    if target.is_none() && is_plain(host.as_bytes()) {
        return None;
    }
    match Authority::try_from(host.as_bytes()) {
        Ok(host) if host.as_str().contains('@') => Some("the Host header names a user; send none"),
        Ok(host) if host.port_u16().is_none() && has_port(&host) => {
            Some("the port in the Host header is none; send a number below 65536")
        }
        Ok(host) if !is_one(&host) => Some("the Host header is not one host; send one"),
        Ok(host) if target.is_some_and(|target| *target != host) => {
            Some("the Host header and the target name two hosts; send one")
        }
        Ok(_) => None,
        Err(_) => Some("the Host header is not a host; send `name` or `name:port`"),
    }
}

/// A name or an address, and a port of four digits at most: most hosts, and there is nothing more
/// to look at.
fn is_plain(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let name = host.iter().take_while(|byte| plain(byte)).count();
    let port = match host.get(name..) {
        Some([b':', port @ ..]) => port,
        Some([]) => &[],
        _ => return false,
    };
    name > 0 && port.len() < 5 && port.iter().all(u8::is_ascii_digit)
}

/// Whether there are brackets around an address of IPv6 or none at all, and no comma, by which a
/// proxy may have made one header out of two.
fn is_one(host: &Authority) -> bool {
    match host.host().strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.is_some_and(|inside| inside.parse::<Ipv6Addr>().is_ok()),
        None => !host.host().contains(['[', ']', ',']),
    }
}

/// A colon at the end says that there is a port, and leaves it to the scheme.
fn has_port(host: &Authority) -> bool {
    !host.as_str()[host.host().len()..].trim_start_matches(':').is_empty()
}

/// No coding but `chunked` (RFC 9112 §6.1). A length beside it hyper has taken out, and closes.
fn coding(head: &Head<'_>) -> Option<Error> {
    let coding = head.coding?;
    if head.codings == 1 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return None;
    }
    let words = "this Transfer-Encoding is not known; send `chunked`";
    Some(Error::new(StatusCode::NOT_IMPLEMENTED, words))
}

/// Nothing but `100-continue` can be expected (RFC 9110 §10.1.1).
fn expectation(head: &Head<'_>) -> Option<Error> {
    head.expected?;
    let words = "this Expect is not known; send `100-continue` or none";
    Some(Error::new(StatusCode::EXPECTATION_FAILED, words))
}
