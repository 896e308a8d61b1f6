//! [`Budget`]: a time that is left, as text.

use std::time::Duration;

/// The most digits of a number of milliseconds that are read: 115 days, as in the Connect protocol.
const MILLIS_DIGITS: usize = 10;
/// The most digits of a `grpc-timeout`, by gRPC's own rule.
const GRPC_DIGITS: usize = 8;

/// The units of a `grpc-timeout` with their nanoseconds, finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// A time that is left, in one of the forms that it has on the wire.
///
/// # Examples
///
/// ```
/// use downhaul_context::wire::Budget;
/// use std::time::Duration;
///
/// let budget = Budget::from_grpc(b"1500m").unwrap();
/// assert_eq!(budget.span(), Duration::from_millis(1_500));
/// assert_eq!(budget.to_millis(), "1500");
/// assert_eq!(Budget::from_millis(b"-1"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget(Duration);

impl Budget {
    /// A budget of `span`.
    pub fn new(span: Duration) -> Self {
        Self(span)
    }

    /// The time that is left. Zero is a time too: there is none left.
    pub fn span(self) -> Duration {
        self.0
    }

    /// Reads whole milliseconds: 1 to 10 digits and nothing else.
    pub fn from_millis(text: &[u8]) -> Option<Self> {
        digits(text, MILLIS_DIGITS).map(|millis| Self(Duration::from_millis(millis)))
    }

    /// Reads a `grpc-timeout`: 1 to 8 digits and one of the units `n u m S M H`.
    pub fn from_grpc(text: &[u8]) -> Option<Self> {
        let (unit, number) = text.split_last()?;
        let nanos = UNITS.iter().find(|(name, _)| name == unit)?.1;
        // 8 digits of hours are more nanoseconds than a `u64` has.
        let nanos = u128::from(digits(number, GRPC_DIGITS)?) * u128::from(nanos);
        Some(Self(Duration::from_nanos_u128(nanos)))
    }

    /// Whole milliseconds, rounded down: a promise that is not kept in full is none. What has more
    /// than 10 digits is written as the most that can be read.
    pub fn to_millis(self) -> String {
        self.0.as_millis().min(10_u128.pow(MILLIS_DIGITS as u32) - 1).to_string()
    }

    /// A `grpc-timeout` in the finest unit that 8 digits hold, rounded down.
    pub fn to_grpc(self) -> String {
        let limit = 10_u128.pow(GRPC_DIGITS as u32);
        let fits = |&(unit, nanos): &(u8, u64)| {
            let number = self.0.as_nanos() / u128::from(nanos);
            (number < limit).then(|| format!("{number}{}", char::from(unit)))
        };
        UNITS.iter().find_map(fits).unwrap_or_else(|| format!("{}H", limit - 1))
    }
}

fn digits(text: &[u8], most: usize) -> Option<u64> {
    let valid = (1..=most).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    valid.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
