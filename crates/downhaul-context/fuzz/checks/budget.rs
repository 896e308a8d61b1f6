//! `Budget`: what is read is what is meant, and what is written can be read.

use std::time::Duration;

use downhaul_context::wire::Budget;

pub(crate) fn check(bytes: &[u8]) {
    let millis = number(bytes, 10).map(Duration::from_millis);
    assert_eq!(Budget::from_millis(bytes).map(Budget::span), millis);
    let grpc = grpc(bytes);
    assert_eq!(Budget::from_grpc(bytes).map(Budget::span), grpc);
    [millis, grpc].into_iter().flatten().for_each(returns);
}

/// What is written of it is read as no more than it is.
fn returns(span: Duration) {
    let budget = Budget::new(span);
    let millis = Budget::from_millis(budget.to_millis().as_bytes()).expect("written to be read");
    assert!(millis <= budget);
    let grpc = Budget::from_grpc(budget.to_grpc().as_bytes()).expect("written to be read");
    assert!(grpc <= budget);
    // Eight digits are exact to a hundred-millionth part, but for what rounds to a unit.
    assert!(span - grpc.span() <= Duration::from_secs(3_600));
}

fn grpc(bytes: &[u8]) -> Option<Duration> {
    let (unit, digits) = bytes.split_last()?;
    let number = number(digits, 8)?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn number(bytes: &[u8], most: usize) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    // `parse` takes a sign as well.
    let is_fit = text.len() <= most && !text.starts_with('+');
    text.parse().ok().filter(|_| is_fit)
}
