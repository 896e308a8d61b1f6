//! `RequestId::parse`: takes what is fit for logs and headers, unchanged, and nothing else.

use downhaul_context::RequestId;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match RequestId::parse(text) {
        Ok(id) => {
            assert!(is_fit(text));
            assert_eq!(id.as_str(), text);
            assert_eq!(RequestId::parse(id.as_str()), Ok(id.clone()));
        }
        Err(_) => assert!(!is_fit(text)),
    }
}

fn is_fit(text: &str) -> bool {
    let fit = |c: char| matches!(c, '0'..='9' | 'A'..='Z' | 'a'..='z' | '.' | '_' | '~' | '-');
    !text.is_empty() && text.chars().count() <= 128 && text.chars().all(fit)
}
