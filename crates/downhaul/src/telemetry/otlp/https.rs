//! [`Https`]: a client for collectors over `https`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio_rustls::rustls::ClientConfig;

use crate::telemetry::driver::Driver;

/// A client that is asked on the exporter's own thread and works on the driver's: that thread has
/// no runtime.
#[derive(Debug)]
pub(in crate::telemetry) struct Https {
    client: Arc<dyn HttpClient>,
    runtime: Handle,
}

impl Https {
    pub(super) fn new(config: ClientConfig, timeout: Duration, driver: &Driver) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = connector.https_only().enable_http1().build();
        let client = Arc::new(HyperClient::new(connector, timeout, None));
        Self { client, runtime: driver.handle().clone() }
    }
}

#[async_trait]
impl HttpClient for Https {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}
