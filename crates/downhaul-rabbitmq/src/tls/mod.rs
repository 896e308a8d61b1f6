//! [`Tls`]: how connections are encrypted, and whom they trust.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use lapin::tcp::{AMQPUriTcpExt, RustlsConnector};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::tls::pem::Pem;

mod pem;
mod unverified;

/// How connections are encrypted: rustls with TLS 1.3 and 1.2.
///
/// Files are read when the broker is made, so that a wrong one is told at once, and again for each
/// connection: what was renewed counts from the next connection on.
///
/// # Examples
///
/// ```no_run
/// use downhaul_rabbitmq::{RabbitMq, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/rabbitmq/ca.pem")
///     .certificate_files("/etc/inventory/chain.pem", "/etc/inventory/key.pem");
/// let broker = RabbitMq::new("amqps://inventory:secret@rabbit.internal")?.tls(tls)?;
/// # Ok::<(), downhaul_consumer::BrokerError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tls {
    ca: Option<Pem>,
    certificate: Option<(Pem, Pem)>,
    server_name: Option<String>,
    unverified: bool,
}

impl Tls {
    /// Trusts the authorities that the system trusts, shows no certificate, and expects the broker
    /// to have one for the host of the URL.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this file of PEM, and no other.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(Pem::File(path.into()));
        self
    }

    /// Trusts the authorities in this PEM, and no other.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Pem::given(pem.into()));
        self
    }

    /// Shows the certificate in the first file of PEM, its chain behind it, and proves it by the
    /// key in the second.
    #[must_use]
    pub fn certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((Pem::File(chain.into()), Pem::File(key.into())));
        self
    }

    /// As [`certificate_files`](Self::certificate_files), with the PEM itself.
    #[must_use]
    pub fn certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some((Pem::given(chain.into()), Pem::given(key.into())));
        self
    }

    /// Expects the broker's certificate to be for this name, or this address, instead of the host
    /// of the URL.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Takes whatever certificate the broker shows. Whoever sits between here and there can then
    /// read everything, the password first: for tests only.
    #[must_use]
    pub fn dangerously_unverified(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// What the parameters of a URL say.
    pub(crate) fn of(parameters: &[(&'static str, String)]) -> Result<Self, String> {
        let value = |name| {
            let mut values = parameters.iter().filter(|(known, _)| *known == name);
            values.next().map(|(_, value)| value.clone())
        };
        match value("verify").as_deref() {
            None | Some("verify_peer") => {}
            Some("verify_none") => {
                return Err("`verify=verify_none` would let anyone between here and the broker \
                            read the password. Give the `cacertfile` of the broker's authority; \
                            or leave `verify` out and say in the code that it is meant, with \
                            `Tls::dangerously_unverified`"
                    .to_owned());
            }
            Some(_) => return Err("the parameter `verify` takes `verify_peer`".to_owned()),
        }
        let certificate = match (value("certfile"), value("keyfile")) {
            (Some(chain), Some(key)) => Some((Pem::File(chain.into()), Pem::File(key.into()))),
            (None, None) => None,
            (Some(_), None) => return Err("`certfile` needs its `keyfile`".to_owned()),
            (None, Some(_)) => return Err("`keyfile` needs its `certfile`".to_owned()),
        };
        let ca = value("cacertfile").map(|path| Pem::File(path.into()));
        let server_name = value("server_name_indication");
        Ok(Self { ca, certificate, server_name, unverified: false })
    }

    /// Whether it can be used for a host, before anybody is waited for.
    pub(crate) fn check(&self, host: &str) -> Result<(), BrokerError> {
        let name = self.name(host);
        if ServerName::try_from(name).is_err() {
            return Err(fault(format!("`{name}` is not the name of a host")));
        }
        self.config().map(drop)
    }

    fn name<'a>(&'a self, host: &'a str) -> &'a str {
        self.server_name.as_deref().unwrap_or(host)
    }

    /// Reads what it is made of.
    fn config(&self) -> Result<ClientConfig, BrokerError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|error| fault("the versions of TLS").with_source(error))?;
        let builder = if self.unverified {
            let verifier = unverified::verifier(&provider);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let Some((chain, key)) = &self.certificate else {
            return Ok(builder.with_no_client_auth());
        };
        let (certificates, private_key) = (chain.certificates()?, key.key()?);
        builder.with_client_auth_cert(certificates, private_key).map_err(|error| {
            let words = format!("{key}: the key does not fit the certificate, or is not known");
            fault(words).with_source(error)
        })
    }

    fn roots(&self) -> Result<RootCertStore, BrokerError> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.ca {
            for certificate in ca.certificates()? {
                let unusable = |error| fault(format!("{ca}: not an authority")).with_source(error);
                roots.add(certificate).map_err(unusable)?;
            }
            return Ok(roots);
        }
        // What the system has may be old and odd; what can be read of it counts.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let words = "the system trusts no authority; give the broker's as `cacertfile`";
            return Err(fault(words));
        }
        Ok(roots)
    }

    /// Connects under TLS. Reads the files on a thread that may block.
    pub(crate) async fn connect(
        &self,
        uri: AMQPUri,
        properties: ConnectionProperties,
    ) -> Result<lapin::Result<Connection>, BrokerError> {
        let (tls, name) = (self.clone(), self.name(&uri.authority.host).to_owned());
        let reading = tokio::task::spawn_blocking(move || tls.config()).await;
        // It was right when the broker was made: somebody may just be renewing it.
        let unreadable = |error: BrokerError| {
            let words = "the files for TLS have become unusable";
            BrokerError::new(BrokerErrorKind::Unreachable, words).with_source(error)
        };
        let stopped = |error| {
            BrokerError::new(BrokerErrorKind::Closed, "the runtime has ended").with_source(error)
        };
        let config = reading.map_err(stopped)?.map_err(unreadable)?;
        let connector = RustlsConnector::from(config);
        let runtime = match lapin::runtime::default_runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Ok(Err(error)),
        };
        let encrypted = async move |mut uri: AMQPUri, runtime| {
            uri.scheme = AMQPScheme::AMQP;
            let plain = uri.connect_async(&runtime).await?;
            Ok(plain.into_rustls(&connector, &name).await?)
        };
        Ok(Connection::connector(uri, runtime, encrypted, properties).await)
    }
}

/// What a failure to connect under TLS says, where somebody can do something about it.
pub(crate) fn advice(error: &lapin::Error) -> Option<(BrokerErrorKind, &'static str)> {
    use rustls::{AlertDescription as Alert, CertificateError as Fault, Error};
    let lapin::ErrorKind::IOError(error) = error.kind() else { return None };
    let (permanent, passing) = (BrokerErrorKind::Configuration, BrokerErrorKind::Unreachable);
    if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) {
        // With TLS 1.3 a broker says last what it thinks of our certificate, and the words are lost
        // where it closes a link that we have already written to.
        let words = "it closed the connection, as it does where it wants a certificate that it \
                     trusts; see `certfile` and `keyfile`";
        return Some((passing, words));
    }
    Some(match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(Fault::UnknownIssuer) => {
            (permanent, "nobody that is trusted has signed its certificate; give its `cacertfile`")
        }
        Error::InvalidCertificate(
            Fault::NotValidForName | Fault::NotValidForNameContext { .. },
        ) => (
            permanent,
            "its certificate is for another name; give that as `server_name_indication` if it is \
             the right broker",
        ),
        Error::InvalidCertificate(Fault::Expired | Fault::ExpiredContext { .. }) => {
            (passing, "its certificate has expired")
        }
        Error::AlertReceived(Alert::CertificateExpired) => {
            (passing, "our certificate has expired; see `certfile`")
        }
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown,
        ) => (permanent, "it wants a certificate that it trusts; see `certfile` and `keyfile`"),
        Error::InvalidMessage(_) => {
            (permanent, "it does not speak TLS at this port, which is 5671 by custom")
        }
        _ => return None,
    })
}

fn fault(words: impl Into<String>) -> BrokerError {
    let words = format!("TLS for RabbitMQ: {}", words.into());
    BrokerError::new(BrokerErrorKind::Configuration, words)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::AlertDescription as Alert;

    use super::*;

    /// The files are read again for each connection.
    #[test]
    fn a_certificate_of_ours_that_has_expired_may_be_renewed() {
        let kind = |alert| {
            let error = io::Error::other(rustls::Error::AlertReceived(alert));
            advice(&lapin::ErrorKind::IOError(Arc::new(error)).into()).map(|(kind, _)| kind)
        };
        assert_eq!(kind(Alert::CertificateExpired), Some(BrokerErrorKind::Unreachable));
        assert_eq!(kind(Alert::UnknownCA), Some(BrokerErrorKind::Configuration));
    }
}
