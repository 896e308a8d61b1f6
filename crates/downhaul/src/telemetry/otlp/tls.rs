//! [`Tls`]: whom an exporter trusts, and who it is itself.

use std::sync::Arc;

#[cfg(feature = "grpc")]
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use tokio_rustls::rustls::{
    ClientConfig, DEFAULT_VERSIONS, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::telemetry::TelemetryError;
use crate::telemetry::environment::{Environment, Signal};

/// What the files hold that the environment names.
pub(super) struct Tls {
    /// Whom to trust, in place of whom the system trusts.
    authority: Option<Pem>,
    /// The certificate of this service and its key, for a collector that asks who it is.
    identity: Option<(Pem, Pem)>,
}

/// A file as it was read.
struct Pem {
    /// The variable that names it.
    key: &'static str,
    bytes: Vec<u8>,
}

impl Tls {
    pub(super) fn read(environment: &Environment, signal: Signal) -> Result<Self, TelemetryError> {
        let [authority, certificate, key] = [
            environment.authority(signal),
            environment.certificate(signal),
            environment.key(signal),
        ];
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((Pem::read(certificate)?, Pem::read(key)?)),
            (None, None) => None,
            (Some((key, _)), None) => return Err(unusable(key, "it needs its …CLIENT_KEY")),
            (None, Some((key, _))) => {
                return Err(unusable(key, "it needs its …CLIENT_CERTIFICATE"));
            }
        };
        Ok(Self { authority: authority.map(Pem::read).transpose()?, identity })
    }

    /// # Errors
    ///
    /// As [`for_https`](Self::for_https): tonic would not say which of the files is wrong.
    #[cfg(feature = "grpc")]
    pub(super) fn for_grpc(self) -> Result<ClientTlsConfig, TelemetryError> {
        self.for_https()?;
        let config = ClientTlsConfig::new();
        let config = match self.authority {
            Some(authority) => config.ca_certificate(Certificate::from_pem(authority.bytes)),
            None => config.with_native_roots(),
        };
        Ok(match self.identity {
            Some((chain, key)) => config.identity(Identity::from_pem(chain.bytes, key.bytes)),
            None => config,
        })
    }

    pub(super) fn for_https(&self) -> Result<ClientConfig, TelemetryError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|error| TelemetryError::Exporter(Box::new(error)))?
            .with_root_certificates(self.roots()?);
        let Some((chain, key)) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let private = PrivateKeyDer::from_pem_slice(&key.bytes);
        let private = private.map_err(|error| unusable(key.key, error))?;
        let usable = config.with_client_auth_cert(chain.certificates()?, private);
        usable.map_err(|error| unusable(key.key, error))
    }

    fn roots(&self) -> Result<RootCertStore, TelemetryError> {
        let mut roots = RootCertStore::empty();
        let Some(authority) = &self.authority else {
            // What the system has may be old and odd; what can be read of it counts.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for certificate in authority.certificates()? {
            roots.add(certificate).map_err(|error| unusable(authority.key, error))?;
        }
        Ok(roots)
    }
}

impl Pem {
    fn read((key, path): (&'static str, String)) -> Result<Self, TelemetryError> {
        let bytes = std::fs::read(path).map_err(|error| unusable(key, error))?;
        Ok(Self { key, bytes })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TelemetryError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if found.is_empty() => Err(unusable(self.key, "no certificate is in it")),
            Ok(found) => Ok(found),
            Err(error) => Err(unusable(self.key, error)),
        }
    }
}

fn unusable(
    key: &'static str,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TelemetryError {
    TelemetryError::Unusable { key, source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(variables: &[(&'static str, &'static str)]) -> String {
        let variables = variables.to_vec();
        let read = move |key: &str| {
            let found = variables.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| (*value).to_owned())
        };
        let environment = Environment::new(Box::new(read));
        let made = Tls::read(&environment, Signal::Traces).and_then(|tls| tls.for_https());
        let error = made.unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        format!("{error}: {why}")
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_by_its_variable() {
        const NO_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let missing = refusal(&[("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/no/such/file")]);
        assert!(missing.starts_with("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: "), "{missing}");
        let empty = refusal(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", NO_PEM)]);
        assert!(empty.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: "), "{empty}");
        assert!(empty.ends_with("no certificate is in it"), "{empty}");
        let identity: [(&str, &str); 2] = [
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", NO_PEM),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", NO_PEM),
        ];
        let keyless = refusal(&identity);
        assert!(keyless.starts_with("OTEL_EXPORTER_OTLP_CLIENT_KEY: "), "{keyless}");
    }

    #[test]
    fn a_certificate_and_its_key_are_named_together() {
        let alone = refusal(&[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/service.pem")]);
        assert!(alone.ends_with("it needs its …CLIENT_KEY"), "{alone}");
    }
}
