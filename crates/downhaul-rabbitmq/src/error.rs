//! What lapin and the broker say, as [`BrokerError`]s.

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use downhaul_context::Cause;
use lapin::types::ShortString;
use lapin::{Error, ErrorKind};

use crate::address::Address;

/// What is known when a broker takes no publishes.
pub(crate) const SHORT_OF_ROOM: &str = "RabbitMQ takes no publishes: it is short of memory or \
                                       disk, as `rabbitmq-diagnostics alarms` says";
const LIMIT: &str = "a limit of the broker is reached";
/// The longest text that AMQP 0.9.1 takes where it writes the length in one byte.
const SHORT: usize = 255;

/// Something could not be opened.
pub(crate) fn cannot(what: &str, error: &Error) -> BrokerError {
    explained(what, error, ": the user may not do this")
}

/// Something could not be declared.
pub(crate) fn cannot_declare(what: &str, error: &Error) -> BrokerError {
    let refused = ": the user may not declare it, and what others have declared can be used by \
                   `RabbitMq::passive`";
    explained(&format!("declare {what}"), error, refused)
}

/// `refused` is what to say to a user without the permission.
fn explained(what: &str, error: &Error, refused: &str) -> BrokerError {
    let code = code(error);
    if let Some(property) = inequivalent(error) {
        let words = format!(
            "cannot {what}: it exists with another `{property}`; declare it as it is, by \
             `RabbitMq::topology`, give it another name, or delete it once it is empty"
        );
        return caused(BrokerErrorKind::Configuration, words, error);
    }
    if is_over_limit(error) {
        return caused(BrokerErrorKind::Unreachable, format!("cannot {what}: {LIMIT}"), error);
    }
    let (kind, advice) = match (code, error.kind()) {
        // It goes as well: a service that is being replaced, as a rule.
        (Some(403), _) if words(error).contains("in exclusive use") => {
            (BrokerErrorKind::Unreachable, ": another consumes it alone")
        }
        // Dead letters and what is delayed go by this exchange, and it shows in no topology.
        (Some(403), _) if words(error).contains("'amq.default'") => {
            (BrokerErrorKind::Configuration, ": the user needs to write to `amq.default`")
        }
        (Some(403), _) => (BrokerErrorKind::Configuration, refused),
        // With which it goes.
        (Some(405), _) => (BrokerErrorKind::Unreachable, ": another connection owns it alone"),
        (Some(406), _) => {
            (BrokerErrorKind::Configuration, ": the broker does not take it as it is")
        }
        (Some(402 | 503 | 530 | 540), _)
        | (_, ErrorKind::AuthProviderError(_) | ErrorKind::InvalidProtocolVersion(_)) => {
            (BrokerErrorKind::Configuration, "")
        }
        _ => (BrokerErrorKind::Unreachable, ""),
    };
    caused(kind, format!("cannot {what}{advice}"), error)
}

/// Connecting has failed. `is_fresh` are credentials that were asked for just now: they may be
/// others in a moment.
pub(crate) fn not_connected(address: &Address, is_fresh: bool, error: &Error) -> BrokerError {
    #[cfg(feature = "tls")]
    if address.is_encrypted()
        && let Some((kind, advice)) = crate::tls::advice(error)
    {
        return caused(kind, format!("cannot connect to RabbitMQ at {address}: {advice}"), error);
    }
    let (kind, words) = match code(error) {
        Some(_) if is_over_limit(error) => (BrokerErrorKind::Unreachable, LIMIT.to_owned()),
        // A vhost that is not there is none of their business.
        Some(403 | 530) if is_fresh && words(error).contains("refused") => (
            BrokerErrorKind::Unreachable,
            "it refused the credentials that it was given".to_owned(),
        ),
        Some(403) => (
            BrokerErrorKind::Configuration,
            "check the user and the password of the URL".to_owned(),
        ),
        Some(530) if words(error).contains("refused for user") => (
            BrokerErrorKind::Configuration,
            format!("give the user permissions in the vhost `{}`", address.vhost()),
        ),
        Some(530) => (
            BrokerErrorKind::Configuration,
            format!(
                "check the vhost `{}` of the URL, where `/` is written `/%2f` or left out",
                address.vhost()
            ),
        ),
        _ => return cannot(&format!("connect to RabbitMQ at {address}"), error),
    };
    let words = format!("RabbitMQ at {address} refused the connection: {words}");
    BrokerError::new(kind, words).with_source(error.to_string())
}

/// What was said to a user whose credentials were asked for. If the user may not do it, that may
/// pass: the rights end with the credentials, or have not come yet.
pub(crate) fn said_to_fresh(error: BrokerError) -> BrokerError {
    if !error.chain().contains("ACCESS_REFUSED") {
        return error;
    }
    BrokerError::new(BrokerErrorKind::Unreachable, error.chain())
}

/// What was open is lost. Whatever the reason, opening it again is what helps.
pub(crate) fn lost(what: &str, error: &Error) -> BrokerError {
    caused(BrokerErrorKind::Unreachable, format!("{what} was lost"), error)
}

/// A consumer is over, by this word of the broker's. As with [`lost`], it is opened again, also if
/// it was to blame: the messages that were held too long are delivered again.
pub(crate) fn consuming_ended(queue: &ShortString, error: &Error) -> BrokerError {
    let what = format!("the consumer of queue `{queue}`");
    if matches!(error.kind(), ErrorKind::ParsingError(_)) {
        let words = format!(
            "{what} was lost with its connection: something came that cannot be read, such as a \
             message with a property or the name of a header that is no UTF-8. It comes again and \
             again: take it out of its queue, which may be another's"
        );
        return caused(BrokerErrorKind::Unreachable, words, error);
    }
    if !held_too_long(error) {
        return lost(&what, error);
    }
    let words = format!(
        "{what} was closed by RabbitMQ: a handler held a message longer than the broker's consumer \
         timeout; give the handler a shorter timeout, the consumer a smaller prefetch, or raise \
         `consumer_timeout` at the broker"
    );
    caused(BrokerErrorKind::Unreachable, words, error)
}

/// Of RabbitMQ's "delivery acknowledgement on channel 1 timed out. Timeout value used: …".
fn held_too_long(error: &Error) -> bool {
    let words = words(error);
    code(error) == Some(406) && words.contains("acknowledgement") && words.contains("timed out")
}

/// As [`lost`], where lapin gives no reason.
pub(crate) fn unreachable(words: impl Into<String>) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Unreachable, words)
}

/// The context ended before something was open.
pub(crate) fn gave_up(what: &str, cause: Cause) -> BrokerError {
    unreachable(format!("gave up waiting to {what}")).with_source(cause)
}

/// What was closed by its owner.
pub(crate) fn closed(what: &str) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Closed, format!("{what} is closed"))
}

/// The message is at fault.
pub(crate) fn unsendable(words: impl Into<String>) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Message, words)
}

/// The broker has raised an alarm, by `connection.blocked`.
pub(crate) fn short_of_room() -> BrokerError {
    BrokerError::new(BrokerErrorKind::Unreachable, SHORT_OF_ROOM)
}

/// A name as AMQP writes it: at most 255 bytes.
pub(crate) fn short(
    what: &str,
    text: &str,
    kind: BrokerErrorKind,
) -> Result<ShortString, BrokerError> {
    check_short(what, text, kind)?;
    Ok(text.into())
}

/// Whether it can be made into a [`ShortString`].
pub(crate) fn check_short(
    what: &str,
    text: &str,
    kind: BrokerErrorKind,
) -> Result<(), BrokerError> {
    if text.len() <= SHORT {
        return Ok(());
    }
    let length = text.len();
    Err(BrokerError::new(kind, format!("{what} has {length} bytes, and RabbitMQ takes {SHORT}")))
}

/// There are as many connections, channels or queues as there may be, of RabbitMQ's "connection
/// limit (5) is reached" and "has reached the maximum allowed user limit of (5)". That passes when
/// others go, such as the connections of a client that has died and is not missed yet.
fn is_over_limit(error: &Error) -> bool {
    let words = words(error);
    words.contains("limit") && words.contains("reached")
}

/// The property that something has at the broker with another value, of RabbitMQ's "inequivalent
/// arg 'x-queue-type' for queue …".
fn inequivalent(error: &Error) -> Option<&str> {
    let (_, rest) = words(error).split_once("inequivalent arg '")?;
    rest.split_once('\'').map(|(property, _)| property)
}

/// The code of an error that the broker sent.
pub(crate) fn code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// What the broker said to an error that it sent.
fn words(error: &Error) -> &str {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().as_str(),
        _ => "",
    }
}

/// Keeps lapin's words and not its type: its `Display` names its own source already.
fn caused(kind: BrokerErrorKind, words: String, error: &Error) -> BrokerError {
    BrokerError::new(kind, words).with_source(error.to_string().replace(['\r', '\n'], " "))
}
