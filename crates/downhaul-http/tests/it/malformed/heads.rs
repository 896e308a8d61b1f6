//! Header lines.

use super::{Followed, LastTaken, Refused, Row, Taken, check, row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_lines() {
    check(names()).await;
    check(values()).await;
    check(sizes_and_expectations()).await;
}

/// A request with these lines besides its host.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

fn names() -> Vec<Row> {
    vec![
        row("a folded line", with("a: b\r\n c"), "9112 §5.2: 400", Refused(400)),
        row(
            "a first line that is folded",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "9112 §2.2: 400",
            Refused(400),
        ),
        row("a space before the colon", with("a : b"), "9112 §5.1: 400", Refused(400)),
        row("a tab before the colon", with("a\t: b"), "9112 §5.1: 400", Refused(400)),
        row("a space in the name", with("a b: c"), "9110 §5.1: 400", Refused(400)),
        row("no name", with(": b"), "9110 §5.1: 400", Refused(400)),
        row("no colon", with("a"), "9112 §5: 400", Refused(400)),
        row("a name that is no token", with("a(: b"), "9110 §5.1: 400", Refused(400)),
        row("a name beyond ASCII", with("\u{e9}: b"), "9110 §5.1: 400", Refused(400)),
        row("a NUL in the name", with("a\0: b"), "9110 §5.1: 400", Refused(400)),
    ]
}

fn values() -> Vec<Row> {
    vec![
        row("a NUL in the value", with("a: b\0c"), "9110 §5.5: 400 or a space", Refused(400)),
        row("a bare CR in the value", with("a: b\rc"), "9112 §2.2: 400 or a space", Refused(400)),
        row(
            "a control character in the value",
            with("a: b\x01c"),
            "9110 §5.5: may be refused",
            Refused(400),
        ),
        row("a bell in the value", with("a: \x07"), "9110 §5.5: may be refused", Refused(400)),
        row("a DEL in the value", with("a: \x7f"), "9110 §5.5: may be refused", Refused(400)),
        row("a tab in the value", with("a: b\tc"), "9110 §5.5: taken", Taken("GET / ")),
        row(
            "bytes beyond ASCII in the value",
            with("a: \u{e9}"),
            "9110 §5.5: taken",
            Taken("GET / "),
        ),
        row("an empty value", with("a:"), "9110 §5.5: taken", Taken("GET / ")),
        row(
            "lines that end in a bare LF",
            "GET / HTTP/1.1\nHost: a\n\n",
            "9112 §2.2: may be taken",
            Taken("GET / "),
        ),
        row(
            "one line that ends in a bare LF",
            with("a: b\nc: d"),
            "9112 §2.2: may be taken",
            Taken("GET / "),
        ),
        row(
            "a head that ends in CR CR LF",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
            "9112 §2.2: 400",
            Refused(400),
        ),
    ]
}

fn sizes_and_expectations() -> Vec<Row> {
    let headers = |count: usize| vec!["a: b"; count].join("\r\n");
    let large = |bytes: usize| format!("a: {}", "x".repeat(bytes));
    vec![
        row("a hundred headers", with(&headers(99)), "no limit named", Taken("GET / ")),
        row("a hundred and one headers", with(&headers(100)), "6585 §5: 431", Refused(431)),
        row("a head of nearly 16 KiB", with(&large(16_000)), "no limit named", Taken("GET / ")),
        row("a head over 16 KiB", with(&large(17 << 10)), "6585 §5: 431", Refused(431)),
        row("a head far over 16 KiB", with(&large(1 << 20)), "6585 §5: 431", Refused(431)),
        row("an Expect that nobody knows", with("Expect: tea"), "9110 §10.1.1: 417", Refused(417)),
        row("an Expect of nothing", with("Expect:"), "9110 §10.1.1: 417", Refused(417)),
        row(
            "an Expect of two things",
            with("Expect: 100-continue, tea"),
            "9110 §10.1.1: 417",
            Refused(417),
        ),
        row(
            "an Expect without a body",
            with("Expect: 100-continue"),
            "9110 §10.1.1: no 100",
            Taken("GET / "),
        ),
        row("a close", with("Connection: close"), "9112 §9.6: closes", LastTaken("GET / ")),
        row(
            "rubbish after a good request",
            format!("{}\0\u{1}\r\n\r\n", with("a: b")),
            "9112 §2.2: 400",
            Followed("GET / ", 400),
        ),
    ]
}
