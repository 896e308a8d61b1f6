//! Queries: a handler is given what was meant, or the client a 400.

use downhaul_context::Context;
use downhaul_http::{Body, Error, Request, Router};
use http_body_util::BodyExt;
use serde::Deserialize;
use tower::ServiceExt;

#[derive(Deserialize)]
struct Wanted {
    a: u32,
}

type Pairs = Vec<(String, String)>;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    let Ok(request) = http::Request::get(format!("/?{query}")).body(Body::default()) else {
        return;
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (status, body) = runtime.block_on(ask(request));

    let pairs: Pairs = serde_json::from_str(&body).unwrap();
    assert_eq!(pairs.len(), query.split('&').filter(|pair| !pair.is_empty()).count());
    let named: Vec<_> = pairs.iter().filter(|(name, _)| name == "a").collect();
    let is_wanted = matches!(&named[..], [(_, text)] if text.parse::<u32>().is_ok());
    assert_eq!(status, if is_wanted { 200 } else { 400 }, "{query}");
}

/// The status that a handler answers which wants an `a`, and all pairs as JSON.
async fn ask(request: http::Request<Body>) -> (u16, String) {
    let router = Router::new().get("/", async |_: Context, req: Request| {
        // Whatever it is, it is pairs.
        let pairs = serde_json::to_string(&req.query::<Pairs>()?).unwrap();
        let wanted = req.query::<Wanted>().map(|wanted| wanted.a);
        let status = wanted.map_or_else(|error| error.status(), |_| http::StatusCode::OK);
        Ok::<_, Error>((status, pairs))
    });
    let answer = match router.oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
