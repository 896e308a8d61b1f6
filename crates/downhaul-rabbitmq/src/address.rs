//! [`Address`]: where the broker is and who we are there.

use std::fmt;
use std::time::Duration;

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};

use crate::credentials::Credentials;
use crate::error::{check_short, not_connected};
use crate::parameters::Parameters;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// In seconds. Half a minute may pass before anyone notices that the other side is gone.
const HEARTBEAT: u16 = 10;

/// A URL that was read once. Shows neither user nor password.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
    /// Of an `amqps` URL.
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, BrokerError> {
        if has_stray_at(url) {
            return Err(invalid(
                "in a user, a password or a vhost, write `@` as `%40`, `/` as `%2F`, `?` as `%3F` \
                 and `#` as `%23`",
            ));
        }
        let mut uri: AMQPUri = url.parse().map_err(|words: String| not_a_url(&words))?;
        if let Some(literal) = ipv6_literal(url) {
            // The parser would quietly connect to localhost.
            uri.authority.host = literal.to_owned();
        }
        // lapin panics over a longer one.
        check_short("the vhost", &uri.vhost, BrokerErrorKind::Configuration)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let Parameters { tls } = Parameters::read(url).map_err(|words| invalid(&words))?;
        match (&uri.scheme, tls.first()) {
            (AMQPScheme::AMQP, Some((name, _))) => {
                Err(invalid(&format!("the parameter `{name}` is of use with `amqps` only")))
            }
            (AMQPScheme::AMQP, None) => Ok(Self {
                uri,
                #[cfg(feature = "tls")]
                tls: None,
            }),
            (AMQPScheme::AMQPS, _) => Self::encrypted(uri, &tls),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn encrypted(_: AMQPUri, _: &[(&'static str, String)]) -> Result<Self, BrokerError> {
        Err(invalid("`amqps` needs the feature `tls` of downhaul-rabbitmq"))
    }

    #[cfg(feature = "tls")]
    fn encrypted(uri: AMQPUri, tls: &[(&'static str, String)]) -> Result<Self, BrokerError> {
        let tls = Tls::of(tls).map_err(|words| invalid(&words))?;
        tls.check(&uri.authority.host)?;
        Ok(Self { uri, tls: Some(tls) })
    }

    /// Encrypts as the code says, whatever the URL says.
    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, tls: Tls) -> Result<(), BrokerError> {
        if self.uri.scheme != AMQPScheme::AMQPS {
            return Err(invalid("TLS was set, and it begins with `amqp`; write `amqps`"));
        }
        tls.check(&self.uri.authority.host)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// Connects, with these credentials instead of the URL's if there are any.
    pub(crate) async fn connect(
        &self,
        credentials: Option<Credentials>,
        properties: ConnectionProperties,
    ) -> Result<Connection, BrokerError> {
        let (mut uri, is_fresh) = (self.uri.clone(), credentials.is_some());
        if let Some(Credentials { user, password, .. }) = credentials {
            (uri.authority.userinfo.username, uri.authority.userinfo.password) = (user, password);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let connected = tls.connect(uri, properties).await?;
            return connected.map_err(|error| not_connected(self, is_fresh, &error));
        }
        let connected = Connection::connect_uri(uri, properties).await;
        connected.map_err(|error| not_connected(self, is_fresh, &error))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// `connection_timeout` of the URL, which is in milliseconds; zero is none.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        match self.uri.query.connection_timeout? {
            0 => Some(Duration::MAX),
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// Whole seconds; zero turns heartbeats off as far as the broker agrees.
    pub(crate) fn set_heartbeat(&mut self, heartbeat: Duration) {
        let seconds = heartbeat.as_millis().div_ceil(1_000);
        self.uri.query.heartbeat = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        if authority.host.contains(':') {
            return write!(f, "[{}]:{}", authority.host, authority.port);
        }
        write!(f, "{}:{}", authority.host, authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{}", self.vhost())
    }
}

/// What stands between brackets after the credentials.
fn ipv6_literal(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split(']').next()
}

/// Whether there is an `@` that does not end the credentials. Then what stands before it may be a
/// part of the password, and would be taken for a host, which is shown.
fn has_stray_at(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let names = behind.split(['?', '&', '#']).filter_map(|part| part.split('=').next());
    let ends = authority.matches('@').count();
    ends > 1 || (ends == 0 && behind.contains('@')) || names.into_iter().any(|it| it.contains('@'))
}

/// The parser's words may quote the URL, and so the password.
fn not_a_url(words: &str) -> BrokerError {
    if words.starts_with("Invalid URL") {
        invalid("write `amqp://user:password@host:port/vhost`")
    } else if words.starts_with("Invalid AMQP scheme") {
        invalid("it must begin with `amqp://` or `amqps://`")
    } else {
        invalid(words)
    }
}

fn invalid(words: &str) -> BrokerError {
    let words = format!("the URL of RabbitMQ is not valid: {words}");
    BrokerError::new(BrokerErrorKind::Configuration, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_kept() {
        let address = Address::parse("amqp://u:p@[::1]:5673/%2f").unwrap();
        assert_eq!(address.to_string(), "[::1]:5673");
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_shown() {
        for secret in ["p@qq/z", "p/qqz", "p#qqz", "p?qqz", "p@qqz", "p@q?z", "p@q#z", "p?qq=z"] {
            for host in ["localhost:5672", "localhost/shop", "127.0.0.1?heartbeat=5"] {
                let error = Address::parse(&format!("amqp://guest:{secret}@{host}")).unwrap_err();
                let chain = error.chain();
                assert!(chain.contains("`%40`") && !chain.contains(host), "{chain}");
                assert!(!chain.contains("qq") && !chain.contains("q?z"), "{chain}");
            }
        }
        for fine in ["u:p%40@h/v%40h", "u@h/v", "h/v?cacertfile=%2Fa", "u:p@h?cacertfile=/a@b"] {
            assert!(!has_stray_at(&format!("amqps://{fine}")), "{fine}");
        }
    }

    #[test]
    fn the_heartbeat_of_the_url_counts() {
        let heartbeat = |url| Address::parse(url).unwrap().uri.query.heartbeat;
        assert_eq!(heartbeat("amqp://localhost"), Some(HEARTBEAT));
        assert_eq!(heartbeat("amqp://localhost?heartbeat=3"), Some(3));
    }
}
