//! `Host`, alone and beside a target that names one.

use super::{LastTaken, Refused, Row, Taken, check, row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts() {
    check(names()).await;
    check(beside_targets()).await;
}

fn of(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{lines}\r\n")
}

fn names() -> Vec<Row> {
    let host = |host: &str| of("/", &format!("Host: {host}\r\n"));
    vec![
        row("none", of("/", ""), "9112 §3.2: 400", Refused(400)),
        row("none in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "9112 §3.2: taken", LastTaken("GET / ")),
        row("two that differ", of("/", "Host: a\r\nHost: b\r\n"), "9112 §3.2: 400", Refused(400)),
        row("two that do not", of("/", "Host: a\r\nHost: a\r\n"), "9112 §3.2: 400", Refused(400)),
        row(
            "two in HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            "9112 §3.2: 400",
            Refused(400),
        ),
        row("a list", host("a, b"), "9112 §3.2: 400", Refused(400)),
        row("an empty one", host(""), "9112 §3.2: 400 where the target has a host", Refused(400)),
        row("a space", host("a b"), "9112 §3.2: 400", Refused(400)),
        row("a path", host("a/b"), "9112 §3.2: 400", Refused(400)),
        row("a query", host("a?b"), "9112 §3.2: 400", Refused(400)),
        row("a fragment", host("a#b"), "9112 §3.2: 400", Refused(400)),
        row("a scheme", host("http://a"), "9112 §3.2: 400", Refused(400)),
        row("a user", host("u@a"), "9110 §4.2.4: 400", Refused(400)),
        row("a port that is no number", host("a:x"), "9112 §3.2: 400", Refused(400)),
        row("a port too large", host("a:65536"), "9112 §3.2: 400", Refused(400)),
        row("two ports", host("a:1:2"), "9112 §3.2: 400", Refused(400)),
        row("an open bracket", host("[::1"), "3986 §3.2.2: 400", Refused(400)),
        row("a bracket and more", host("[::1]a"), "3986 §3.2.2: 400", Refused(400)),
        row("an empty bracket", host("[]"), "3986 §3.2.2: 400", Refused(400)),
        row("a list without a space", host("a,b"), "3986 §3.2.2: a name, or two", Refused(400)),
        row("an address in a list", host(",[::1]:80"), "3986 §3.2.2: 400", Refused(400)),
        row(
            "an address in a list behind a colon",
            host(":,[::1]:80"),
            "3986 §3.2.2: 400",
            Refused(400),
        ),
        row("a port alone", host(":80"), "9110 §4.2.1: 400", Refused(400)),
        row("a colon alone", host(":"), "9110 §4.2.1: 400", Refused(400)),
        row("a port with a sign", host("a:+80"), "3986 §3.2.3: 400", Refused(400)),
        row("brackets behind a name", host("a[::1]"), "3986 §3.2.2: 400", Refused(400)),
        row("no address in brackets", host("[zz]"), "3986 §3.2.2: 400", Refused(400)),
        row("half an address in brackets", host("[1:2]"), "3986 §3.2.2: 400", Refused(400)),
        row("an address of IPv6", host("[::1]:8080"), "3986 §3.2.2: taken", Taken("GET / ")),
        row("a port of nothing", host("a:"), "3986 §3.2.3: taken", Taken("GET / ")),
    ]
}

fn beside_targets() -> Vec<Row> {
    vec![
        row(
            "the target's",
            of("http://a/", "Host: a\r\n"),
            "9112 §3.2.2: taken",
            Taken("GET http://a/ "),
        ),
        row(
            "not the target's",
            of("http://a/", "Host: b\r\n"),
            "9112 §3.2.2: the target's, or 400",
            Refused(400),
        ),
        row(
            "not the target's port",
            of("http://a:1/", "Host: a:2\r\n"),
            "9112 §3.2.2: the target's, or 400",
            Refused(400),
        ),
        row("none, but the target has", of("http://a/", ""), "9112 §3.2: 400", Refused(400)),
        row("none in the target", of("http:///", "Host: a\r\n"), "9110 §4.2.1: 400", Refused(400)),
        row(
            "a user in the target",
            of("http://u@a/", "Host: a\r\n"),
            "9110 §4.2.4: 400",
            Refused(400),
        ),
        row(
            "a scheme that is not http",
            of("ftp://a/", "Host: a\r\n"),
            "9110 §7.4: 400 or 421",
            Refused(421),
        ),
    ]
}
