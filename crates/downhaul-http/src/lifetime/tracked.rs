//! How what answers a request finds its context and the request in flight: [`Carried`] by its body,
//! or [`Tracked`] among its extensions.
//!
//! Extensions are where services of others look. They cost a request five allocations, so a server
//! whose service is a router of ours leaves them to the router, which fills them where it hands a
//! request on.

use std::sync::Arc;

use downhaul_context::Context;
use http::{Extensions, Uri};

use crate::lifetime::in_flight::InFlight;

/// Travels with the body.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) ctx: Context,
    pub(crate) request: Arc<InFlight>,
}

impl Carried {
    /// Puts it where services of others look.
    pub(crate) fn expose(self, extensions: &mut Extensions, uri: &Uri) {
        extensions.insert(Tracked { request: self.request, uri: uri.clone() });
        extensions.insert(self.ctx);
    }
}

/// An extension of the request, beside its [`Context`].
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    pub(crate) request: Arc<InFlight>,
    /// The target as it was sent.
    pub(crate) uri: Uri,
}

impl Tracked {
    /// The request in flight, where a server of ours serves it.
    pub(crate) fn request(extensions: &Extensions) -> Option<&Arc<InFlight>> {
        extensions.get().map(|Self { request, .. }| request)
    }
}
