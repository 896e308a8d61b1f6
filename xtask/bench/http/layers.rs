//! What each layer adds to hyper.

use std::convert::Infallible;
use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::Router;
use hyper::service::service_fn;
use hyper_util::service::TowerToHyperService;

use super::theirs::{axum, hyper, on_hyper, show};
use super::wire::Wire;
use super::{compare, ours};
use crate::case::Case;
use crate::peers::{AXUM, HYPER};
use crate::probe::Probe;
use crate::samples::Samples;

const BUDGET: Duration = Duration::from_secs(30);

/// The goals are of a machine on which hyper takes 755 ns: what a layer may add, as a part of that.
/// Against axum there is no such figure; a layer that does less should take less.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("a context on hyper", HYPER, 885.0 / 755.0, context),
        Case::ratio("a route and JSON on hyper", HYPER, 905.0 / 755.0, |probe| {
            route(probe, &hyper())
        }),
        Case::ratio("a route and JSON on hyper", AXUM, 0.9, |probe| route(probe, &axum())),
        Case::ratio("the server: deadline, id, quiet spans", HYPER, 1285.0 / 755.0, server),
    ]
}

/// A child with a deadline, under which the handler runs; it ends when the client is gone.
fn context(probe: &Probe) -> Samples {
    let service = Context::background();
    let wire = on_hyper(service_fn(move |request| {
        let (ctx, canceller) = service.with_timeout(BUDGET);
        async move {
            let _ends_with_the_request = canceller;
            let answer = ctx.run(async { show(&request) }).await;
            Ok::<_, Infallible>(answer.expect("nothing ends it"))
        }
    }));
    compare(probe, &wire, &hyper())
}

fn route(probe: &Probe, peer: &Wire) -> Samples {
    let router = Router::new().get("/users/{id}", ours::user);
    compare(probe, &on_hyper(TowerToHyperService::new(router)), peer)
}

fn server(probe: &Probe) -> Samples {
    compare(probe, &ours::bare(), &hyper())
}
