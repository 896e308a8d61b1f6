//! [`Tls`]: how a listener encrypts. [`Certificate`]: what it shows to clients, and how that is
//! renewed while it serves.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::listen::counted::Counted;
use crate::listen::transport::Transport;

/// How a [`Listener`](crate::Listener) encrypts: rustls, with the protocols `h2` and `http/1.1`.
///
/// # Examples
///
/// ```no_run
/// use downhaul_http::{Certificate, Server, Tls};
///
/// # async fn listen() -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = Certificate::load("tls/chain.pem", "tls/key.pem")?;
/// let server = Server::bind("127.0.0.1:8443").await?.tls(Tls::new(&certificate));
///
/// // When the files have changed, such as on SIGHUP; what is connected stays so.
/// certificate.reload()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// TLS 1.3 and 1.2 with this certificate, and no certificates of clients.
    ///
    /// # Panics
    ///
    /// Never: the provider of the cryptography has both versions.
    pub fn new(certificate: &Certificate) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .expect("ring has every default version")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificate.clone()));
        Self::from_config(config)
    }

    /// What rustls can do beyond that, such as to ask for certificates of clients. The protocols
    /// `h2` and `http/1.1` are offered where the configuration offers none.
    pub fn from_config(mut config: ServerConfig) -> Self {
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    pub(crate) async fn accept(&self, transport: Transport) -> io::Result<Transport> {
        let stream = self.0.accept(Counted::new(transport)).await?;
        Ok(Transport::Tls(Box::new(stream)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// A certificate with its chain and its key, from two files of PEM. Clones are the same one.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    chain: PathBuf,
    key: PathBuf,
    provider: CryptoProvider,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads the file of the chain, the server's own certificate first, and that of its key.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] names the file that cannot be read or is not what it should be.
    pub fn load(
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, CertificateError> {
        let (chain, key, provider) = (chain.into(), key.into(), ring::default_provider());
        let current = RwLock::new(Arc::new(read(&chain, &key, &provider)?));
        Ok(Self(Arc::new(Inner { chain, key, provider, current })))
    }

    /// Reads both files again, for the connections to come.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); the certificate stays what it was.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let Inner { chain, key, provider, current } = &*self.0;
        let read = Arc::new(read(chain, key, provider)?);
        *current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }
}

fn read(
    chain_path: &PathBuf,
    key_path: &PathBuf,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let bad = |path: &PathBuf, fault| CertificateError { path: path.clone(), fault };
    let chain = CertificateDer::pem_file_iter(chain_path).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| bad(chain_path, Fault::Unreadable(error)))?;
    if chain.is_empty() {
        return Err(bad(chain_path, Fault::Unreadable(pem::Error::NoItemsFound)));
    }
    let key = PrivateKeyDer::from_pem_file(key_path)
        .map_err(|error| bad(key_path, Fault::Unreadable(error)))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| bad(key_path, Fault::Unusable(error)))
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain", &self.0.chain).finish_non_exhaustive()
    }
}

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct CertificateError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{}", describe(.0))]
    Unreadable(#[source] pem::Error),
    #[error("the key does not fit the certificate, or is of a kind that is not known: {0}")]
    Unusable(#[source] rustls::Error),
}

fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => "holds no such PEM section as it should".to_owned(),
        other => format!("is not valid PEM: {other}"),
    }
}
