//! What the RFCs forbid in the head of a request and hyper lets through.
//!
//! Two servers that read one request in two ways are what request smuggling lives on, so what can
//! be read in two ways is refused, and the connection closed.

use std::net::Ipv6Addr;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::error::Error;
use crate::lifetime::head::Head;

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
        let is_place = |to: &Authority| to.port_u16().is_some() && not_a_host(to).is_none();
        let is_place = uri.authority().is_some_and(is_place) && uri.scheme().is_none();
        return (!is_place).then(|| Error::bad_request("CONNECT takes `host:port`; send that"));
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
    let objection = match head.host {
        Some(_) if head.hosts > 1 => Some("two Host headers; send one"),
        Some(host) => not_the_host(host, target),
        None if version == Version::HTTP_11 => Some("no Host header; send one"),
        None => target.and_then(not_a_host),
    };
    objection.map(Error::bad_request)
}

fn not_the_host(host: &HeaderValue, target: Option<&Authority>) -> Option<&'static str> {
    if target.is_none() && is_plain(host.as_bytes()) {
        return None;
    }
    match Authority::try_from(host.as_bytes()) {
        Ok(host) if target.is_some_and(|target| *target != host) => {
            Some("the Host header and the target name two hosts; send one")
        }
        Ok(host) => not_a_host(&host),
        Err(_) => Some(NO_HOST),
    }
}

const NO_HOST: &str = "the Host header is not a host; send `name` or `name:port`";

/// What the type of authorities takes and is none of a server's: a user; a comma, by which a proxy
/// may have made one header out of two; brackets without an address of IPv6; a port that is none.
fn not_a_host(host: &Authority) -> Option<&'static str> {
    let host = host.as_str();
    if is_plain(host.as_bytes()) {
        return None;
    }
    let (is_name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, port)) => (inside.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (!name.is_empty() && !name.contains(['@', '[', ']', ',']), port)
        }
    };
    (!is_name || !is_port(port)).then_some(NO_HOST)
}

/// Nothing, or a colon and a number; a colon alone leaves the number to the scheme.
fn is_port(text: &str) -> bool {
    let is_number = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    let digits = text.bytes().skip(1).all(|byte| byte.is_ascii_digit());
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| digits && is_number(port))
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

/// No coding but `chunked`, and that once (RFC 9112 §6.1). A length beside it hyper has taken out,
/// and closes.
fn coding(head: &Head<'_>) -> Option<Error> {
    let coding = head.coding?.as_bytes();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if head.codings == 1 && is_chunked(coding) {
        return None;
    }
    let mut codings = coding.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if codings.find(|coding| !coding.is_empty()).is_some_and(is_chunked) {
        return Some(Error::bad_request("more than one Transfer-Encoding; send `chunked` alone"));
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
