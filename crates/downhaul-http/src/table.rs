//! [`Table`]: the routes of a router, and which of them a request takes.

use std::sync::Arc;

use axum_core::response::IntoResponse;
use http::{HeaderValue, Method, StatusCode, header};

use crate::endpoint::{Endpoint, endpoint};
use crate::error::Error;
use crate::request::Request;

pub(crate) struct Table<S> {
    paths: matchit::Router<usize>,
    pub(crate) routes: Vec<Route<S>>,
}

pub(crate) struct Route<S> {
    pub(crate) path: Arc<str>,
    pub(crate) methods: Vec<(Method, Endpoint<S>)>,
}

impl<S: Send + Sync + 'static> Table<S> {
    #[track_caller]
    pub(crate) fn insert(&mut self, path: &str, method: Method, endpoint: Endpoint<S>) {
        assert!(path.starts_with('/'), "the path `{path}` does not begin with `/`");
        let known = self.routes.iter_mut().find(|route| *route.path == *path);
        let Some(route) = known else {
            if let Err(error) = self.paths.insert(path, self.routes.len()) {
                panic!("the path `{path}` cannot be routed: {error}");
            }
            let route = Route { path: Arc::from(path), methods: vec![(method, endpoint)] };
            return self.routes.push(route);
        };
        let taken = route.methods.iter().any(|(known, _)| *known == method);
        assert!(!taken, "`{method} {path}` is routed twice");
        route.methods.push((method, endpoint));
    }

    /// The handler for a request, which learns its route and parameters.
    pub(crate) fn find(&self, request: &mut Request<S>) -> Endpoint<S> {
        let uri = request.uri().clone();
        let Ok(matched) = self.paths.at(uri.path()) else { return not_found() };
        let Some(route) = self.routes.get(*matched.value) else { return not_found() };
        request.matched(&route.path, &matched.params);
        let by = |method| route.methods.iter().find(|(known, _)| known == method);
        let exact = by(request.method());
        let head = || by(&Method::GET).filter(|_| request.method() == Method::HEAD);
        match exact.or_else(head) {
            Some((_, endpoint)) => Arc::clone(endpoint),
            None => other_method(route.allow()),
        }
    }
}

impl<S> Route<S> {
    /// The `Allow` header (RFC 9110 §10.2.1).
    fn allow(&self) -> String {
        let mut allow: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        let implied = [("HEAD", allow.contains(&"GET")), ("OPTIONS", true)];
        for (method, implied) in implied {
            if implied && !allow.contains(&method) {
                allow.push(method);
            }
        }
        allow.join(", ")
    }

    /// The path and its methods, for who debugs a router.
    pub(crate) fn words(&self) -> (&str, String) {
        let methods: Vec<_> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        (&self.path, methods.join(", "))
    }
}

fn not_found<S: Send + Sync + 'static>() -> Endpoint<S> {
    endpoint(|_ctx, request: Request<S>| async move {
        Error::not_found(format!("nothing is at {}; check the path", request.uri().path()))
    })
}

fn other_method<S: Send + Sync + 'static>(allow: String) -> Endpoint<S> {
    endpoint(move |_ctx, request: Request<S>| {
        let allow = allow.clone();
        async move {
            let mut response = if request.method() == Method::OPTIONS {
                StatusCode::NO_CONTENT.into_response()
            } else {
                let message = format!("{} is not allowed here; use {allow}", request.method());
                Error::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
            };
            if let Ok(allow) = HeaderValue::try_from(allow) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            response
        }
    })
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { paths: matchit::Router::new(), routes: Vec::new() }
    }
}

impl<S> Clone for Table<S> {
    fn clone(&self) -> Self {
        Self { paths: self.paths.clone(), routes: self.routes.clone() }
    }
}

impl<S> Clone for Route<S> {
    fn clone(&self) -> Self {
        Self { path: Arc::clone(&self.path), methods: self.methods.clone() }
    }
}
