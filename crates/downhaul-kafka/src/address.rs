//! [`Address`]: where the brokers are.

use std::fmt;

use downhaul_consumer::{BrokerError, BrokerErrorKind};

/// Kafka's own.
const PORT: &str = "9092";

/// The brokers to ask for all others: `host:port`, by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    /// Reads `kafka://host:port,host:port`; the scheme and the ports may be left out.
    pub(crate) fn parse(url: &str) -> Result<Self, BrokerError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("kafka", url));
        if scheme != "kafka" {
            return Err(invalid("the scheme is not `kafka`"));
        }
        if rest.contains('@') {
            let words = "it holds a user: name it by `sasl.username` and `sasl.password`";
            return Err(invalid(words));
        }
        let servers: Result<Vec<_>, _> =
            rest.trim_end_matches('/').split(',').map(|host| server(host.trim())).collect();
        Ok(Self(servers?.join(",")))
    }

    /// As librdkafka wants them.
    pub(crate) fn servers(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn server(text: &str) -> Result<String, BrokerError> {
    if text.is_empty() || text.contains(['/', '?', '#']) || text.contains(char::is_whitespace) {
        return Err(invalid("write it as `kafka://host:port`, several hosts with commas between"));
    }
    let after_literal = text.rsplit_once(']').map_or(text, |(_, rest)| rest);
    match after_literal.split_once(':') {
        None => Ok(format!("{text}:{PORT}")),
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        // Or is it a password, with a `?` in it that has cut it off?
        Some(_) => Err(invalid("what stands behind the `:` of a host is no port")),
    }
}

/// The address is not repeated: it may hold a password by mistake.
fn invalid(words: &str) -> BrokerError {
    let words = format!("the address of Kafka is not valid: {words}");
    BrokerError::new(BrokerErrorKind::Configuration, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> String {
        Address::parse(url).unwrap().servers().to_owned()
    }

    #[test]
    fn hosts_are_read_with_and_without_scheme_and_port() {
        assert_eq!(servers("kafka://one:1,two:2"), "one:1,two:2");
        assert_eq!(servers("one, two:2"), "one:9092,two:2");
        assert_eq!(servers("kafka://[::1]:19092/"), "[::1]:19092");
        assert_eq!(servers("[::1]"), "[::1]:9092");
    }

    #[test]
    fn an_address_that_is_not_valid_is_refused_and_never_repeated() {
        let whole = ["", "http://one:1", "kafka://secret:word@one:1", "one:port", "one:1,", "a b"];
        // All that is left of an address whose password holds a `?`.
        let halves = ["kafka://user:secret", "user:1secret"];
        for url in whole.into_iter().chain(halves) {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{url}");
            assert!(!error.chain().contains("secret"), "{error}");
        }
    }
}
