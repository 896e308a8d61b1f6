//! [`Pem`]: certificates and keys, from a file or from the code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use downhaul_consumer::BrokerError;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::fault;

/// Some PEM, and where it is from.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Given(Arc<[u8]>),
}

impl Pem {
    pub(super) fn given(pem: Vec<u8>) -> Self {
        Self::Given(pem.into())
    }

    fn read(&self) -> Result<Arc<[u8]>, BrokerError> {
        let read = |path: &Path| std::fs::read(path).map(Into::into);
        match self {
            Self::File(path) => read(path)
                .map_err(|error| fault(format!("{self}: cannot be read")).with_source(error)),
            Self::Given(pem) => Ok(Arc::clone(pem)),
        }
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, BrokerError> {
        let pem = self.read()?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let invalid = |error| fault(format!("{self}: is not valid PEM")).with_source(error);
        let certificates = certificates.map_err(invalid)?;
        if certificates.is_empty() {
            return Err(fault(format!("{self}: holds no certificate")));
        }
        Ok(certificates)
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, BrokerError> {
        let invalid =
            |error| fault(format!("{self}: holds no key without passphrase")).with_source(error);
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(invalid)
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Given(_) => f.write_str("the PEM given in code"),
        }
    }
}

/// A key is a secret.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
