//! The strict look at a request's head: a line of method, target and version, then headers.
//!
//! What reaches the service can be read in one way only, and what does not is told why.

use std::convert::Infallible;

use axum_core::response::Response;
use downhaul_context::{Context, RequestId, TraceContext};
use downhaul_http::ContextLayer;
use http::{HeaderMap, Method, Request, Version};
use tower::{Layer, ServiceExt, service_fn};

pub(crate) fn check(bytes: &[u8]) {
    let Some(request) = request(bytes) else { return };
    let (head, _) = request.clone().into_parts();
    // Contexts with deadlines are made where there is a clock.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(answer(request));
    let status = answer.status().as_u16();
    assert!([200, 400, 417, 421, 501, 504].contains(&status), "{status}");
    if status == 200 {
        assert_is_plain(&head.method, &head.uri, head.version, &head.headers);
    }
    let echoed = answer.headers()["x-request-id"].to_str().unwrap();
    let sent = head.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    assert!(RequestId::parse(echoed).is_ok());
    assert!(sent.is_none_or(|id| RequestId::parse(id).is_err() || id == echoed));
}

async fn answer(request: Request<()>) -> Response {
    let service = service_fn(async |request: Request<()>| {
        let ctx = request.extensions().get::<Context>().unwrap();
        assert!(ctx.value::<RequestId>().is_some());
        let parent = request.headers().get("traceparent").and_then(|parent| parent.to_str().ok());
        let is_valid = parent.is_some_and(|parent| TraceContext::parse(parent, None).is_ok());
        assert_eq!(ctx.value::<TraceContext>().is_some(), is_valid);
        Ok::<Response, Infallible>(Response::default())
    });
    match ContextLayer::new(Context::background()).layer(service).oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn assert_is_plain(method: &Method, uri: &http::Uri, version: Version, headers: &HeaderMap) {
    let hosts: Vec<_> = headers.get_all("host").iter().collect();
    assert!(hosts.len() < 2 && (version != Version::HTTP_11 || hosts.len() == 1));
    let target = uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = hosts.iter().map(|host| host.as_bytes()).chain(target);
    assert!(named.into_iter().all(is_host), "{uri} {hosts:?}");
    assert!(headers.get_all("transfer-encoding").iter().count() < 2);
    let only = |name, word: &[u8]| {
        headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(word))
    };
    assert!(only("transfer-encoding", b"chunked") && only("expect", b"100-continue"));
    match *method {
        Method::CONNECT => assert!(uri.port_u16().is_some() && uri.scheme().is_none()),
        Method::OPTIONS => {}
        _ => assert!(uri.path().starts_with('/'), "{uri}"),
    }
}

/// Something in front of a port, and nothing that could end it, or begin another.
fn is_host(host: &[u8]) -> bool {
    let is_of_one = |byte: &u8| !b" \t,/?#@\\\"<>".contains(byte) && byte.is_ascii_graphic();
    let is_begun = host.first().is_some_and(|byte| *byte != b':');
    let bracket = host.iter().position(|byte| *byte == b'[');
    is_begun && host.iter().all(is_of_one) && bracket.is_none_or(|at| at == 0)
}

/// The request that the bytes describe, if they do.
fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let line = std::str::from_utf8(lines.next()?).ok()?;
    let mut words = line.split(' ');
    let request = Request::builder().method(words.next()?).uri(words.next()?);
    let mut request = request.version(match words.next()? {
        "1.0" => Version::HTTP_10,
        "2.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    });
    for header in lines {
        let colon = header.iter().position(|byte| *byte == b':')?;
        request = request.header(&header[..colon], header[colon + 1..].trim_ascii());
    }
    request.body(()).ok()
}
