//! Services of others under our router, and what answers where no route matches.

use std::convert::Infallible;

use axum::extract::Extension;
use axum::routing::{get as axum_get, post as axum_post};
use axum_core::response::{IntoResponse, Response};
use downhaul_context::Context;
use downhaul_http::observe::{Outcome, RequestObserver};
use downhaul_http::{Body, Error, Next, OriginalUri, Request, RouteLimits, Router, Server};
use http::{StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tower::{ServiceExt, service_fn};
use tracing::Span;

use crate::support::{Client, Fixture, get, soon};

/// Who is asking, as middleware finds out.
struct User(&'static str);

async fn identify(ctx: Context, req: Request, next: Next) -> Response {
    next.run(ctx.with_value(User("ada")), req).await
}

/// Answers the path and query that it sees, and the whole one.
async fn seen(uri: Uri, Extension(OriginalUri(original)): Extension<OriginalUri>) -> String {
    format!("{uri} of {original}")
}

/// `/items` has GET and POST, `/user` answers who is asking, and the rest of it tells what it sees.
fn shop() -> axum::Router {
    let user = async |Extension(ctx): Extension<Context>| {
        ctx.value::<User>().map_or("nobody", |user| user.0).to_owned()
    };
    axum::Router::new()
        .route("/", axum_get(seen))
        .route("/items", axum_get(seen).post(seen))
        .route("/orders/{id}", axum_post(seen))
        .route("/user", axum_get(user))
}

async fn ask(server: &Fixture, method: &str, path: &str) -> crate::support::Response {
    server.request(&format!("{method} {path} HTTP/1.1\r\nhost: t\r\n\r\n")).await
}

#[tokio::test]
async fn a_service_sees_the_rest_of_the_path_and_finds_the_whole_of_it() {
    let server = Fixture::start(Router::new().nest_service("/shop", shop())).await;
    for (path, seen) in [
        ("/shop", "/ of /shop"),
        ("/shop/", "/ of /shop/"),
        ("/shop?a=1", "/?a=1 of /shop?a=1"),
        ("/shop/items", "/items of /shop/items"),
        ("/shop/items?a=%2F&b", "/items?a=%2F&b of /shop/items?a=%2F&b"),
    ] {
        assert_eq!(server.get(path).await.body, seen);
    }
    let order = ask(&server, "POST", "/shop/orders/a%2Fb").await;
    assert_eq!(order.body, "/orders/a%2Fb of /shop/orders/a%2Fb");
    assert_eq!(server.get("/shopping").await.status, 404);
}

#[tokio::test]
async fn a_service_has_its_own_404_and_405_and_a_trailing_slash_is_another_path() {
    let server = Fixture::start(Router::new().nest_service("/shop", shop())).await;
    let nowhere = server.get("/shop/nowhere").await;
    assert_eq!((nowhere.status, &*nowhere.body), (404, ""), "ours would say why");
    assert_eq!(server.get("/shop/items/").await.status, 404);
    let method = ask(&server, "DELETE", "/shop/items").await;
    assert_eq!((method.status, method.header("allow")), (405, Some("GET,HEAD,POST")));
    let missing = server.get("/elsewhere").await;
    assert_eq!((missing.status, missing.member("title")), (404, "Not Found".into()));
}

#[tokio::test]
async fn a_path_that_is_more_exact_wins_with_every_method() {
    let router = Router::new()
        .nest_service("/shop", shop())
        .get("/shop/items", async |_: Context, _: Request| "ours");
    let server = Fixture::start(router).await;
    assert_eq!(server.get("/shop/items").await.body, "ours");
    assert_eq!(ask(&server, "POST", "/shop/items").await.status, 405);
    assert_eq!(server.get("/shop/user").await.status, 200);
}

#[tokio::test]
async fn a_prefix_may_have_parameters_and_lie_within_another_router() {
    let inner = Router::new().nest_service("/{shop}/api", shop());
    let server = Fixture::start(Router::new().nest("/shops", inner)).await;
    for (path, seen) in [
        ("/shops/7/api", "/ of /shops/7/api"),
        ("/shops/7/api/items", "/items of /shops/7/api/items"),
    ] {
        assert_eq!(server.get(path).await.body, seen);
    }
}

#[tokio::test]
async fn a_service_at_the_root_answers_all_that_routes_do_not() {
    let router =
        Router::new().get("/ours", async |_: Context, _: Request| "ours").nest_service("", shop());
    let server = Fixture::start(router).await;
    assert_eq!(server.get("/ours").await.body, "ours");
    assert_eq!(server.get("/").await.body, "/ of /");
    assert_eq!(server.get("/items?a").await.body, "/items?a of /items?a");
}

#[tokio::test]
async fn a_service_under_a_service_still_finds_what_was_sent() {
    let ours = Router::new()
        .nest_service("/deep", shop())
        .get("/ours", |_: Context, req: Request| async move {
            format!("{} of {}", req.uri(), req.original_uri())
        });
    let between = axum::Router::new().nest_service("/between", ours);
    let server = Fixture::start(Router::new().nest_service("/all", between)).await;
    let seen = server.get("/all/between/deep/items?q").await.body;
    assert_eq!(seen, "/items?q of /all/between/deep/items?q");
    assert_eq!(server.get("/all/between/ours").await.body, "/ours of /all/between/ours");
}

#[tokio::test]
async fn a_service_finds_the_context_that_middleware_passed_on() {
    let router = Router::new().nest_service("/shop", shop());
    let server = Fixture::start(router.clone().middleware(identify)).await;
    assert_eq!(server.get("/shop/user").await.body, "ada");
    assert_eq!(Fixture::start(router).await.get("/shop/user").await.body, "nobody");
}

#[tokio::test]
async fn what_axum_has_stripped_is_found_under_our_server() {
    let ours = Router::new().nest_service("/deep", shop());
    let app = axum::Router::new().nest_service("/outer", ours);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), app);
    let mut client = Client(TcpStream::connect(running.address().tcp().unwrap()).await.unwrap());
    client.send(&get("/outer/deep/items")).await;
    assert_eq!(client.response().await.body, "/items of /outer/deep/items");
}

#[tokio::test]
async fn without_a_server_the_outermost_router_of_ours_keeps_what_was_sent() {
    let between = Router::new().nest_service("/between", shop());
    let ours = Router::new().nest_service("/all", between);
    let request = http::Request::get("/all/between/items").body(Body::empty()).unwrap();
    let body = ours.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "/items of /all/between/items");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_of_axum_extract_what_was_sent_and_the_context_that_was_passed_on() {
    use downhaul_http::Ctx;

    let handler = async |OriginalUri(uri): OriginalUri, Ctx(ctx): Ctx| {
        format!("{uri} for {}", ctx.value::<User>().unwrap().0)
    };
    let app = axum::Router::new().route("/who", axum_get(handler));
    let router = Router::new().nest_service("/app", app).middleware(identify);
    assert_eq!(Fixture::start(router).await.get("/app/who").await.body, "/app/who for ada");
}

#[tokio::test]
async fn an_error_of_a_service_is_a_500_that_keeps_it_to_the_log() {
    let fails = service_fn(async |_: http::Request<Body>| {
        Err::<Response, _>(std::io::Error::other("swordfish"))
    });
    let server = Fixture::start(Router::new().nest_service("/fails", fails)).await;
    let response = server.get("/fails").await;
    assert_eq!(response.status, 500);
    assert!(!response.body.contains("swordfish"), "{}", response.body);
}

/// Tells the routes of access lines.
struct Routes(mpsc::UnboundedSender<Option<String>>);

impl RequestObserver for Routes {
    fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
        self.0.send(outcome.route.map(str::to_owned)).unwrap();
    }
}

#[tokio::test]
async fn access_lines_name_the_prefix_and_no_fallback() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let fine =
        service_fn(async |_: http::Request<Body>| Ok::<_, Infallible>("fine".into_response()));
    let router = Router::new()
        .nest_service("/shop", fine)
        .fallback(async |_: Context, _: Request| StatusCode::IM_A_TEAPOT);
    let server = Fixture::with(router, |server| server.observer(Routes(tell))).await;
    for (path, status, route) in [
        ("/shop", 200, Some("/shop")),
        ("/shop/a/b", 200, Some("/shop/{*rest}")),
        ("/other", 418, None),
    ] {
        assert_eq!(server.get(path).await.status, status);
        assert_eq!(soon(told.recv()).await.unwrap().as_deref(), route);
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn access_lines_name_the_routes_of_an_axum_router_that_tells_them() {
    use downhaul_http::{Ctx, MatchedRoutes};

    let (tell, mut told) = mpsc::unbounded_channel();
    let users = axum::Router::new().route("/{id}", axum_get(async || "Ada")).layer(MatchedRoutes);
    let app = axum::Router::new()
        .nest("/users", users)
        .route("/asks/{what}", axum_get(async |Ctx(_): Ctx| "this"))
        .route("/silent", axum_get(async || "and tells nothing"));
    let server = Server::bind("127.0.0.1:0").await.unwrap().observer(Routes(tell));
    let running = server.serve(Context::background(), app);
    for (path, route) in [
        ("/users/7", Some("/users/{id}")),
        ("/asks/that", Some("/asks/{what}")),
        ("/silent", None),
        ("/nothing", None),
    ] {
        let stream = TcpStream::connect(running.address().tcp().unwrap()).await.unwrap();
        Client(stream).send(&get(path)).await;
        assert_eq!(soon(told.recv()).await.unwrap().as_deref(), route, "{path}");
    }
}

fn tells(words: &'static str) -> impl Fn(Context, Request) -> std::future::Ready<&'static str> {
    move |_, _| std::future::ready(words)
}

#[tokio::test]
async fn a_fallback_answers_what_no_route_matches_under_its_prefix_and_405_stays() {
    let inner = Router::new().get("/a", tells("a")).fallback(tells("lost inside"));
    let router = Router::new()
        .get("/b", tells("b"))
        .nest("/in/{id}", inner)
        .nest("/bare", Router::new().get("/c", tells("c")))
        .fallback(|_: Context, req: Request| async move {
            (StatusCode::GONE, format!("lost with {:?}", req.route()))
        });
    let server = Fixture::start(router).await;
    for (path, status, body) in [
        ("/in/1/a", 200, "a"),
        ("/in/1", 200, "lost inside"),
        ("/in/1/", 200, "lost inside"),
        ("/in/1/x/y", 200, "lost inside"),
        ("/bare/x", 410, "lost with None"),
        ("/b/", 410, "lost with None"),
        ("/", 410, "lost with None"),
    ] {
        let response = server.get(path).await;
        assert_eq!((response.status, &*response.body), (status, body), "{path}");
    }
    assert_eq!(ask(&server, "PUT", "/in/1/a").await.status, 405);
    assert_eq!(ask(&server, "PUT", "/in/1/x").await.body, "lost inside");
}

#[tokio::test]
async fn a_fallback_within_another_router_keeps_its_state_parameters_and_middleware() {
    let inner = Router::with_state("state")
        .fallback(|_: Context, req: Request<&'static str>| async move {
            Ok::<_, Error>(format!("{} {}", req.state(), req.param::<u8>("id")?))
        })
        .middleware(async |ctx: Context, req: Request<&'static str>, next: Next<&'static str>| {
            let mut answer = next.run(ctx, req).await;
            answer.headers_mut().insert("x-inner", "yes".parse().unwrap());
            answer
        });
    let server = Fixture::start(Router::new().nest("/in/{id}", inner)).await;
    let response = server.get("/in/7/x").await;
    assert_eq!((&*response.body, response.header("x-inner")), ("state 7", Some("yes")));
}

#[test]
#[should_panic(expected = "has a fallback already")]
fn a_second_fallback_panics() {
    let _ = Router::new().fallback(tells("a")).fallback(tells("b"));
}

#[test]
#[should_panic(expected = "`GET /shop/` is routed twice")]
fn a_route_at_the_prefix_of_a_service_panics() {
    let _ = Router::new().nest_service("/shop", shop()).get("/shop/", tells("never"));
}

#[test]
#[should_panic(expected = "`/shop` is routed twice")]
fn a_service_at_the_path_of_a_route_panics() {
    let _ = Router::new().get("/shop", tells("never")).nest_service("/shop", shop());
}

async fn length(_: Context, mut req: Request) -> Result<String, Error> {
    Ok(req.bytes().await?.len().to_string())
}

#[tokio::test]
async fn under_no_prefix_one_method_of_a_path_has_limits_of_its_own() {
    let small = Router::new().put("/orders", length).limits(RouteLimits::new().body_limit(2));
    let router: Router = Router::new().post("/orders", length).nest("", small);
    let server = Fixture::start(router).await;
    for (method, status) in [("POST", 200), ("PUT", 413)] {
        let request =
            format!("{method} /orders HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc");
        assert_eq!(server.request(&request).await.status, status, "{method}");
    }
    let other = ask(&server, "DELETE", "/orders").await;
    assert_eq!((other.status, other.header("allow")), (405, Some("POST, PUT, OPTIONS")));
}
