//! The metrics page.

use downhaul_context::Context;
use downhaul_http::{Error, Request};
use http::header::{CONTENT_TYPE, HeaderName};

use crate::handle::AppHandle;
use crate::telemetry::metrics;

/// What Prometheus takes for its text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Page = ([(HeaderName, &'static str); 1], String);

pub(super) async fn page(_ctx: Context, _req: Request<AppHandle>) -> Result<Page, Error> {
    let text = metrics::page().map_err(Error::not_found)?;
    Ok(([(CONTENT_TYPE, TEXT)], text))
}
