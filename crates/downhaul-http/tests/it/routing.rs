//! Paths, methods, parameters, middleware.

use axum_core::response::{IntoResponse, Response};
use downhaul_context::Context;
use downhaul_http::{Error, Next, Request, Router};
use http::StatusCode;

use crate::support::Fixture;

#[derive(serde::Deserialize)]
struct Tagged {
    #[serde(default)]
    tag: Vec<String>,
    page: Option<u8>,
}

fn router() -> Router {
    Router::new()
        .get("/orders/{id}", |_: Context, req: Request| async move {
            Ok::<_, Error>(format!("{}", req.param::<u64>("id")?))
        })
        .delete("/orders/{id}", async |_: Context, _: Request| StatusCode::NO_CONTENT)
        .get("/names/{name}", |_: Context, req: Request| async move { req.param::<String>("name") })
        .get(
            "/files/{*path}",
            |_: Context, req: Request| async move { req.param::<String>("path") },
        )
        .get("/route/{any}", |_: Context, req: Request| async move {
            req.route().map(str::to_owned).ok_or_else(|| Error::not_found("no route"))
        })
        .get("/page", |_: Context, req: Request| async move {
            let query: std::collections::HashMap<String, u8> = req.query()?;
            Ok::<_, Error>(format!("{query:?}"))
        })
        .get("/tagged", |_: Context, req: Request| async move {
            let Tagged { tag, page } = req.query()?;
            Ok::<_, Error>(format!("{tag:?} {page:?}"))
        })
        .get("/search", |_: Context, req: Request| async move {
            let pairs: Vec<(String, u8)> = req.query()?;
            Ok::<_, Error>(format!("{pairs:?}"))
        })
}

async fn ask(server: &Fixture, method: &str, path: &str) -> crate::support::Response {
    server.request(&format!("{method} {path} HTTP/1.1\r\nhost: t\r\n\r\n")).await
}

#[tokio::test]
async fn parameters_are_decoded_and_parsed() {
    let server = Fixture::start(router()).await;
    assert_eq!(server.get("/orders/17").await.body, "17");
    assert_eq!(server.get("/names/a%2Fb%20%C3%BC").await.body, "a/b ü");
    assert_eq!(server.get("/files/a/b.txt").await.body, "a/b.txt");
    assert_eq!(server.get("/route/x").await.body, "/route/{any}");
    assert_eq!(server.get("/search?a=1&b=2").await.body, r#"[("a", 1), ("b", 2)]"#);
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_is_a_400_that_names_it() {
    let server = Fixture::start(router()).await;
    let response = server.get("/orders/many").await;
    assert_eq!(response.status, 400);
    let why = "path parameter `id` is no u64: invalid digit found in string";
    assert_eq!(response.member("detail"), why);
    assert_eq!(server.get("/names/%ff").await.status, 400);
    assert_eq!(server.get("/search?a=many").await.status, 400);
    let response = server.get("/page?from=1&to=many").await;
    assert_eq!(response.status, 400);
    assert!(response.member("detail").contains("`to`"), "{}", response.body);
}

#[tokio::test]
async fn a_name_that_comes_several_times_in_a_query_is_a_sequence() {
    let server = Fixture::start(router()).await;
    for (query, read) in [
        ("", "[] None"),
        ("tag=a", r#"["a"] None"#),
        ("tag=a&page=2&tag=%62+c", r#"["a", "b c"] Some(2)"#),
    ] {
        assert_eq!(server.get(&format!("/tagged?{query}")).await.body, read);
    }
    let twice = server.get("/tagged?page=1&page=2").await;
    assert_eq!(twice.status, 400);
}

#[tokio::test]
async fn what_no_path_matches_is_a_404_and_a_trailing_slash_is_another_path() {
    let server = Fixture::start(router()).await;
    assert_eq!(server.get("/nowhere").await.status, 404);
    assert_eq!(server.get("/orders/17/").await.status, 404);
    assert_eq!(server.get("/nowhere").await.member("title"), "Not Found");
}

#[tokio::test]
async fn a_connect_which_has_no_path_is_a_501() {
    let server = Fixture::start(router()).await;
    let response = server.request("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n").await;
    assert_eq!(response.status, 501);
    assert!(response.member("detail").contains("CONNECT"), "{}", response.body);
}

#[tokio::test]
async fn another_method_is_a_405_that_lists_those_allowed() {
    let server = Fixture::start(router()).await;
    let response = ask(&server, "PUT", "/orders/17").await;
    assert_eq!(response.status, 405);
    assert_eq!(response.header("allow"), Some("GET, DELETE, HEAD, OPTIONS"));
    let options = ask(&server, "OPTIONS", "/orders/17").await;
    assert_eq!((options.status, options.header("allow")), (204, response.header("allow")));
}

#[tokio::test]
async fn head_is_answered_by_get_without_its_body() {
    let server = Fixture::start(router()).await;
    let mut client = server.client().await;
    client.send("HEAD /orders/17 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    let head = String::from_utf8(client.rest().await).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    server.quiet().await;
}

#[tokio::test]
async fn middleware_runs_outermost_first_and_around_404_too() {
    async fn tag(tag: &'static str, ctx: Context, req: Request, next: Next) -> Response {
        let mut response = next.run(ctx, req).await;
        response.headers_mut().append("x-tag", tag.parse().unwrap());
        response
    }
    let inner = Router::new()
        .get("/deep", async |_: Context, _: Request| "deep")
        .middleware(|ctx, req, next| tag("inner", ctx, req, next));
    let router =
        Router::new().middleware(|ctx, req, next| tag("outer", ctx, req, next)).nest("/in", inner);
    let server = Fixture::start(router).await;
    let deep = server.get("/in/deep").await;
    assert_eq!((deep.body.as_str(), deep.header("x-tag")), ("deep", Some("inner")));
    let missing = server.get("/in/nowhere").await;
    assert_eq!((missing.status, missing.header("x-tag")), (404, Some("outer")));
}

#[tokio::test]
async fn a_middleware_may_answer_by_itself() {
    let refuse = async |_: Context, _: Request, _: Next| Error::unavailable("closed");
    let server = Fixture::start(router().middleware(refuse)).await;
    assert_eq!(server.get("/orders/17").await.status, 503);
}

#[tokio::test]
async fn a_nested_router_keeps_its_own_state() {
    let inner = Router::with_state(7_u32)
        .get("/state", |_: Context, req: Request<u32>| async move { req.state().to_string() });
    let server = Fixture::start(Router::new().nest("/in", inner)).await;
    assert_eq!(server.get("/in/state").await.body, "7");
}

#[derive(Debug, PartialEq)]
struct User(&'static str);

#[derive(Debug, PartialEq)]
struct Tenant(&'static str);

#[tokio::test]
async fn values_that_middleware_sets_are_read_two_routers_deep() {
    let deepest = Router::with_state("deep")
        .get("/who", |ctx: Context, _: Request<&str>| async move {
            format!("{:?} {:?}", ctx.value::<User>(), ctx.value::<Tenant>())
        })
        .middleware(|ctx: Context, req: Request<&'static str>, next: Next<&'static str>| {
            // What the routers around it have set, and a value of its own.
            assert_eq!(ctx.value(), Some(&User("ada")));
            async move { next.run(ctx.with_value(Tenant("acme")), req).await }
        });
    let between =
        Router::new().nest("/deep", deepest).get("/who", |ctx: Context, _: Request| async move {
            format!("{:?}", ctx.value::<Tenant>())
        });
    let router = Router::new().nest("/in", between).middleware(
        async |ctx: Context, req: Request, next: Next| {
            next.run(ctx.with_value(User("ada")), req).await
        },
    );
    let server = Fixture::start(router).await;
    assert_eq!(server.get("/in/deep/who").await.body, r#"Some(User("ada")) Some(Tenant("acme"))"#);
    assert_eq!(server.get("/in/who").await.body, "None", "it is for what comes after it alone");
}

#[tokio::test]
async fn the_source_of_an_error_stays_in_the_log() {
    let router = Router::new().get("/fail", |_: Context, _: Request| async {
        Error::internal("the password is swordfish").into_response()
    });
    let server = Fixture::start(router).await;
    let response = server.get("/fail").await;
    assert_eq!(response.status, 500);
    assert!(!response.body.contains("swordfish"));
    assert!(!response.member("request_id").is_empty());
}

#[test]
#[should_panic(expected = "the path `/orders/{name}` cannot be routed")]
fn a_route_that_conflicts_with_another_panics_with_its_path() {
    let _ = router().get("/orders/{name}", async |_: Context, _: Request| "never");
}

#[test]
#[should_panic(expected = "`GET /orders/{id}` is routed twice")]
fn a_route_that_is_there_already_panics_with_its_name() {
    let _ = router().get("/orders/{id}", async |_: Context, _: Request| "never");
}

#[tokio::test]
async fn options_of_the_server_are_the_methods_of_all_its_routes() {
    let with = async |router: Router| {
        let server = Fixture::start(router.fallback(async |_: Context, _: Request| "lost")).await;
        let response = ask(&server, "OPTIONS", "*").await;
        assert_eq!((response.status, &*response.body), (204, ""));
        response.header("allow").unwrap().to_owned()
    };
    let answer = async |_: Context, _: Request| "answer";
    assert_eq!(with(Router::new()).await, "OPTIONS");
    assert_eq!(with(Router::new().post("/a", answer)).await, "POST, OPTIONS");
    let inner = Router::new().get("/b", answer).delete("/b", answer).post("/c", answer);
    let router = Router::new().post("/a", answer).nest("/inner", inner);
    assert_eq!(with(router).await, "POST, GET, DELETE, HEAD, OPTIONS");
    let any = Router::new().post("/a", answer).nest_service("/any", axum::Router::new());
    assert_eq!(with(any).await, "POST, GET, PUT, PATCH, DELETE, HEAD, OPTIONS");
}
