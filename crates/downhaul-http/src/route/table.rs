//! [`Table`]: the routes of a router, and which of them a request takes.

use std::sync::Arc;

use axum_core::response::IntoResponse;
use http::{HeaderValue, Method, StatusCode, header};

use crate::error::Error;
use crate::route::endpoint::{Endpoint, endpoint};
use crate::route::params::{Params, Template};
use crate::route::request::Request;

pub(crate) struct Table<S> {
    paths: matchit::Router<usize>,
    pub(crate) routes: Vec<Route<S>>,
    fallback_paths: matchit::Router<usize>,
    pub(crate) fallbacks: Vec<Fallback<S>>,
}

pub(crate) struct Route<S> {
    pub(crate) template: Arc<Template>,
    pub(crate) methods: Vec<(Method, Endpoint<S>)>,
    /// Takes every method; there are no others then.
    pub(crate) any: Option<Endpoint<S>>,
}

/// What a service that takes every method is said to have: those that HTTP has for resources.
const COMMON: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Answers what no route of its router matches.
pub(crate) struct Fallback<S> {
    /// Where its router is nested.
    pub(crate) prefix: Arc<str>,
    /// Of the paths under the prefix.
    template: Arc<Template>,
    pub(crate) endpoint: Endpoint<S>,
}

/// The paths that are a prefix or lie under it.
pub(crate) fn under(prefix: &str) -> Vec<String> {
    let mut paths = vec![format!("{prefix}/"), format!("{prefix}/{{*rest}}")];
    if !prefix.is_empty() {
        paths.insert(0, prefix.to_owned());
    }
    paths
}

impl<S: Send + Sync + 'static> Table<S> {
    #[track_caller]
    pub(crate) fn insert(&mut self, path: &str, method: Method, endpoint: Endpoint<S>) {
        let route = self.route(path);
        let taken = route.any.is_some() || route.methods.iter().any(|(known, _)| *known == method);
        assert!(!taken, "`{method} {path}` is routed twice");
        route.methods.push((method, endpoint));
    }

    #[track_caller]
    pub(crate) fn insert_any(&mut self, path: &str, endpoint: Endpoint<S>) {
        let route = self.route(path);
        let taken = route.any.is_some() || !route.methods.is_empty();
        assert!(!taken, "`{path}` is routed twice");
        route.any = Some(endpoint);
    }

    #[track_caller]
    pub(crate) fn insert_fallback(&mut self, prefix: &str, endpoint: Endpoint<S>) {
        for path in under(prefix) {
            if self.fallback_paths.insert(path, self.fallbacks.len()).is_err() {
                panic!("what no route matches under `{prefix}/` has a fallback already");
            }
        }
        let template = Template::new(&format!("{prefix}/{{*rest}}"));
        self.fallbacks.push(Fallback { prefix: Arc::from(prefix), template, endpoint });
    }

    /// The route of a path, which is a new one where there was none.
    #[track_caller]
    fn route(&mut self, path: &str) -> &mut Route<S> {
        assert!(path.starts_with('/'), "the path `{path}` does not begin with `/`");
        let known = self.routes.iter().position(|route| *route.template.path == *path);
        let at = known.unwrap_or(self.routes.len());
        if known.is_none() {
            if let Err(error) = self.paths.insert(path, at) {
                panic!("the path `{path}` cannot be routed: {error}");
            }
            let template = Template::new(path);
            self.routes.push(Route { template, methods: Vec::new(), any: None });
        }
        &mut self.routes[at]
    }

    /// The handler for a request, which learns its route and parameters.
    pub(crate) fn find(&self, request: &mut Request<S>) -> Endpoint<S> {
        let path = request.uri().path();
        let Ok(matched) = self.paths.at(path) else { return self.find_other(request) };
        let route = &self.routes[*matched.value];
        let params = Params::new(&route.template, path, &matched.params);
        request.matched(params);
        if let Some(endpoint) = &route.any {
            return Arc::clone(endpoint);
        }
        let by = |method| route.methods.iter().find(|(known, _)| known == method);
        let exact = by(request.method());
        let head = || by(&Method::GET).filter(|_| request.method() == Method::HEAD);
        match exact.or_else(head) {
            Some((_, endpoint)) => Arc::clone(endpoint),
            None => other_method(route.allow()),
        }
    }

    /// What no route matches: a path, or the server as a whole (RFC 9110 §9.3.7).
    fn find_other(&self, request: &mut Request<S>) -> Endpoint<S> {
        let is_whole = request.method() == Method::OPTIONS && request.uri().path() == "*";
        if is_whole { other_method(self.allow()) } else { self.find_fallback(request) }
    }

    /// The methods that any of its routes has.
    fn allow(&self) -> String {
        let methods = self.routes.iter().flat_map(|route| &route.methods);
        let methods = methods.map(|(method, _)| method.as_str());
        let takes_any = self.routes.iter().any(|route| route.any.is_some());
        allow(methods.chain(COMMON.into_iter().filter(|_| takes_any)))
    }

    /// The fallback of the innermost router in which the path lies, where one has any.
    fn find_fallback(&self, request: &mut Request<S>) -> Endpoint<S> {
        let path = request.uri().path();
        let Ok(matched) = self.fallback_paths.at(path) else { return not_found() };
        let fallback = &self.fallbacks[*matched.value];
        let params = Params::new(&fallback.template, path, &matched.params);
        request.unmatched(params);
        Arc::clone(&fallback.endpoint)
    }
}

impl<S> Route<S> {
    fn allow(&self) -> String {
        allow(self.methods.iter().map(|(method, _)| method.as_str()))
    }

    /// The path and its methods, for who debugs a router.
    pub(crate) fn words(&self) -> (&str, String) {
        let mut methods: Vec<_> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        methods.extend(self.any.as_ref().map(|_| "any"));
        (&self.template.path, methods.join(", "))
    }
}

/// The `Allow` header (RFC 9110 §10.2.1) where there are these methods.
fn allow<'a>(methods: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = methods.collect();
    if all.contains(&"GET") {
        all.push("HEAD");
    }
    all.push("OPTIONS");
    let mut allow: Vec<&str> = Vec::new();
    for method in all {
        if !allow.contains(&method) {
            allow.push(method);
        }
    }
    allow.join(", ")
}

fn not_found<S: Send + Sync + 'static>() -> Endpoint<S> {
    endpoint(|_ctx, request: Request<S>| async move {
        match request.uri().path() {
            // It has no path, and so no route (RFC 9110 §9.3.6).
            "" if request.method() == Method::CONNECT => {
                Error::new(StatusCode::NOT_IMPLEMENTED, "CONNECT is for proxies; this is none")
            }
            path => Error::not_found(format!("nothing is at {path}; check the path")),
        }
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
        let (paths, fallback_paths) = (matchit::Router::new(), matchit::Router::new());
        Self { paths, routes: Vec::new(), fallback_paths, fallbacks: Vec::new() }
    }
}

impl<S> Clone for Table<S> {
    fn clone(&self) -> Self {
        Self {
            paths: self.paths.clone(),
            routes: self.routes.clone(),
            fallback_paths: self.fallback_paths.clone(),
            fallbacks: self.fallbacks.clone(),
        }
    }
}

impl<S> Clone for Route<S> {
    fn clone(&self) -> Self {
        let Self { template, methods, any } = self;
        Self { template: Arc::clone(template), methods: methods.clone(), any: any.clone() }
    }
}

impl<S> Clone for Fallback<S> {
    fn clone(&self) -> Self {
        let Self { prefix, template, endpoint } = self;
        let (prefix, template) = (Arc::clone(prefix), Arc::clone(template));
        Self { prefix, template, endpoint: Arc::clone(endpoint) }
    }
}
