//! Properties of librdkafka behind an address, so that whoever runs a program can set them.

use downhaul_consumer::BrokerError;
use percent_encoding::percent_decode_str;

use crate::error::misconfigured;
use crate::options::{Property, Role};

/// Reads `name=value&name=value`. Names and values may be percent-encoded; a `+` is a `+`.
///
/// # Errors
///
/// A part has no name or no value, or is no UTF-8. The error does not repeat it.
pub(crate) fn properties(query: &str) -> Result<Vec<Property>, BrokerError> {
    query.split('&').filter(|part| !part.is_empty()).map(property).collect()
}

fn property(part: &str) -> Result<Property, BrokerError> {
    let (name, value) = part.split_once('=').unwrap_or_default();
    match (decoded(name), decoded(value)) {
        (Some(name), Some(value)) if !name.is_empty() => Ok(Property::new(Role::All, name, value)),
        _ => {
            let words = "the address of Kafka is not valid: write properties behind it as \
                         `?name=value&name=value`";
            Err(misconfigured(words))
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::options::Options;

    fn options(query: &str) -> Options {
        let mut options = Options::new(Address::parse("localhost").unwrap());
        options.properties = properties(query).unwrap();
        options
    }

    #[test]
    fn properties_behind_an_address_are_for_all_clients() {
        let options = options("security.protocol=ssl&sasl.password=a%26b=c+%25&");
        for config in [options.consumer("g"), options.producer(), options.admin()] {
            let config = config.unwrap();
            assert_eq!(config.get("security.protocol"), Some("ssl"));
            assert_eq!(config.get("sasl.password"), Some("a&b=c+%"));
        }
    }

    #[test]
    fn what_the_rest_relies_on_cannot_be_set_behind_an_address_either() {
        let error = options("group.id=mine").consumer("g").unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("group.id"), "{error}");
    }

    #[test]
    fn a_query_that_is_not_valid_is_refused_and_never_repeated() {
        for query in ["secret", "=secret", "secret=%ff", "a=b&secret"] {
            let error = properties(query).unwrap_err();
            assert!(error.is_permanent() && !error.chain().contains("secret"), "{error}");
        }
    }
}
