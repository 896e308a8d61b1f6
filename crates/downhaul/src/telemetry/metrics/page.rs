//! [`Page`]: the metrics as Prometheus reads them.

/// The metrics as text.
#[cfg(feature = "prometheus")]
pub(in crate::telemetry) struct Page(prometheus::Registry);

#[cfg(feature = "prometheus")]
impl Page {
    /// A page, and the reader that it is made of.
    pub(in crate::telemetry) fn new() -> Result<
        (opentelemetry_prometheus::PrometheusExporter, Self),
        opentelemetry_sdk::error::OTelSdkError,
    > {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        Ok((exporter.build()?, Self(registry)))
    }

    pub(super) fn text(&self) -> Result<String, &'static str> {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.0.gather());
        text.map_err(|_| "the metrics cannot be written as text")
    }
}

/// There is none.
#[cfg(not(feature = "prometheus"))]
pub(in crate::telemetry) enum Page {}

#[cfg(not(feature = "prometheus"))]
impl Page {
    pub(super) fn text(&self) -> Result<String, &'static str> {
        match *self {}
    }
}
