//! [`Parameters`]: what stands behind the `?` of a URL, all of it known by name.
//!
//! The names are those of RabbitMQ's own client, see
//! <https://www.rabbitmq.com/docs/uri-query-parameters>. What cannot be kept is refused: a
//! parameter that is passed over in silence is one that somebody relies on.

use percent_encoding::percent_decode_str;

/// What lapin reads by itself, and takes as a whole number.
const NUMBERS: [&str; 4] = ["channel_max", "connection_timeout", "frame_max", "heartbeat"];
/// What the encryption is made of.
const TLS: [&str; 5] = ["cacertfile", "certfile", "keyfile", "server_name_indication", "verify"];

/// The parameters that lapin does not read, with their values.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) tls: Vec<(&'static str, String)>,
}

impl Parameters {
    /// # Errors
    ///
    /// Words about the first parameter that is not as it should be. No value is repeated: what
    /// looks like a parameter may be half a password.
    pub(crate) fn read(url: &str) -> Result<Self, String> {
        let query = url.split('#').next().and_then(|url| url.split_once('?'));
        let mut parameters = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for pair in query.map_or("", |(_, query)| query).split('&').filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if seen.contains(&name) {
                return Err(format!("{} is given twice", shown(&name, pair)));
            }
            parameters.take(&name, value).map_err(|words| words.said_of(&name, pair))?;
            seen.push(name);
        }
        Ok(parameters)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Fault> {
        if NUMBERS.contains(&name) {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            return if is_number { Ok(()) } else { Err(Fault("takes a whole number")) };
        }
        if let Some(name) = TLS.into_iter().find(|known| *known == name) {
            if value.is_empty() {
                return Err(Fault("has no value"));
            }
            self.tls.push((name, value));
            return Ok(());
        }
        match name {
            "auth_mechanism" => Ok(()),
            "password" => Err(Fault(
                "is not supported: keys with a passphrase cannot be read. Store the key without \
                 one, in a file that only the service may read",
            )),
            "fail_if_no_peer_cert" => Err(Fault("is a setting of servers; leave it out")),
            "depth" => Err(Fault(
                "is not supported: the certificate may be six steps away from its root. Leave it \
                 out",
            )),
            _ => Err(Fault(
                "is not known; known are auth_mechanism, cacertfile, certfile, channel_max, \
                 connection_timeout, frame_max, heartbeat, keyfile, server_name_indication and \
                 verify",
            )),
        }
    }
}

/// What is wrong with a parameter.
struct Fault(&'static str);

impl Fault {
    fn said_of(&self, name: &str, pair: &str) -> String {
        format!("{} {}", shown(name, pair), self.0)
    }
}

/// A name to show. A password with a bare `?` in it would have its end here, before an `@`.
fn shown(name: &str, pair: &str) -> String {
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_name && name.len() <= 32 && !pair.contains('@') {
        format!("the parameter `{name}`")
    } else {
        "a parameter (or is it a password, with a `?` that should be `%3F`?)".to_owned()
    }
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| "a parameter is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_refused_with_its_name_and_what_to_do() {
        for (query, words) in [
            ("heartbeat=soon", "`heartbeat` takes a whole number"),
            ("heartbeat=", "`heartbeat` takes a whole number"),
            ("heartbeat=1&heartbeat=2", "`heartbeat` is given twice"),
            ("auth_mechanism=plain&auth_mechanism=amqplain", "`auth_mechanism` is given twice"),
            ("password=s3cret", "`password` is not supported"),
            ("fail_if_no_peer_cert=true", "leave it out"),
            ("depth=2", "`depth` is not supported"),
            ("cacertfile=", "`cacertfile` has no value"),
            ("hartbeat=5", "`hartbeat` is not known"),
            ("heartbeat=5&ssl_options=x", "`ssl_options` is not known"),
        ] {
            let error = Parameters::read(&format!("amqps://localhost?{query}")).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_end_of_a_password_is_not_taken_for_the_name_of_a_parameter() {
        for url in ["amqp://user:12?secret@host", "amqp://user:12?s=secret@host?secret=1"] {
            let error = Parameters::read(url).unwrap_err();
            assert!(error.contains("%3F") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_values_for_tls_are_decoded_once() {
        let url = "amqps://h?cacertfile=/run/a%20b%2525/c@1.pem&heartbeat=3#fragment";
        let parameters = Parameters::read(url).unwrap();
        assert_eq!(parameters.tls, [("cacertfile", "/run/a b%25/c@1.pem".to_owned())]);
    }
}
