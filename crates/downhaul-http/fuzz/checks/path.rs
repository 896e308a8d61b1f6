//! Parameters of a path: what a handler is given is what stood there, decoded once.

use downhaul_context::Context;
use downhaul_http::{Body, Error, Request, Router};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use tower::ServiceExt;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(target) = std::str::from_utf8(bytes) else { return };
    let Ok(request) = http::Request::get(target).body(Body::default()) else { return };
    let path = request.uri().path().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (status, body) = runtime.block_on(ask(request));
    let Some((first, rest)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return assert_eq!(status, 404, "{path}");
    };
    if first.is_empty() || rest.is_empty() {
        return assert_eq!(status, 404, "{path}");
    }
    let decoded = |raw| percent_decode_str(raw).decode_utf8().ok();
    match (decoded(first), decoded(rest)) {
        (Some(first), Some(rest)) => {
            assert_eq!((status, body), (200, format!("{first}\n{rest}").into_bytes()));
        }
        _ => assert_eq!(status, 400, "{path}"),
    }
}

async fn ask(request: http::Request<Body>) -> (u16, Vec<u8>) {
    let router = Router::new().get("/{first}/{*rest}", async |_: Context, req: Request| {
        let (first, rest): (String, String) = (req.param("first")?, req.param("rest")?);
        Ok::<_, Error>(format!("{first}\n{rest}"))
    });
    let answer = match router.oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}
