//! The first line: method, target, version.

use super::{LastTaken, Refused, Row, Taken, check, row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_lines() {
    check(shapes()).await;
    check(targets()).await;
    check(methods_and_versions()).await;
}

/// A request with this first line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

fn shapes() -> Vec<Row> {
    vec![
        row(
            "an empty line before",
            format!("\r\n{}", line("GET / HTTP/1.1")),
            "9112 §2.2: taken",
            Taken("GET / "),
        ),
        row("rubbish", line("nonsense"), "9112 §3: 400", Refused(400)),
        row("an empty method", line(" / HTTP/1.1"), "9112 §3: 400", Refused(400)),
        row("no target", line("GET HTTP/1.1"), "9112 §3: 400", Refused(400)),
        row("no version", line("GET /"), "9112 §3: 400", Refused(400)),
        row("two spaces before the target", line("GET  / HTTP/1.1"), "9112 §3: 400", Refused(400)),
        row("two spaces before the version", line("GET /  HTTP/1.1"), "9112 §3: 400", Refused(400)),
        row("a tab for a space", line("GET\t/ HTTP/1.1"), "9112 §3: 400", Refused(400)),
        row("a space at the front", line(" GET / HTTP/1.1"), "9112 §3: 400", Refused(400)),
        row("a space at the end", line("GET / HTTP/1.1 "), "9112 §3: 400", Refused(400)),
        row("a space in the target", line("GET /a b HTTP/1.1"), "9112 §3.2: 400", Refused(400)),
        row("a bare CR in the line", line("GET /\rx HTTP/1.1"), "9112 §2.2: 400", Refused(400)),
    ]
}

fn targets() -> Vec<Row> {
    let long = format!("GET /{} HTTP/1.1", "x".repeat(70_000));
    vec![
        row("a NUL in the target", line("GET /\0 HTTP/1.1"), "9110 §5.5: 400", Refused(400)),
        row("a DEL in the target", line("GET /\x7f HTTP/1.1"), "3986 §2: 400", Refused(400)),
        row(
            "a byte beyond ASCII in the target",
            line("GET /\u{e9} HTTP/1.1"),
            "3986 §2: 400; old clients send it, and nothing splits there",
            Taken("GET /\u{e9} "),
        ),
        row(
            "a quote in the target",
            line("GET /\" HTTP/1.1"),
            "3986 §2: 400; browsers send it in queries, and nothing splits there",
            Taken("GET /\" "),
        ),
        row("a relative target", line("GET a HTTP/1.1"), "9112 §3.2.1: 400", Refused(400)),
        row("a star that is no OPTIONS", line("GET * HTTP/1.1"), "9112 §3.2.4: 400", Refused(400)),
        row(
            "OPTIONS of the server",
            line("OPTIONS * HTTP/1.1"),
            "9112 §3.2.4: taken",
            Taken("OPTIONS * "),
        ),
        row(
            "a fragment",
            line("GET /a#b HTTP/1.1"),
            "9112 §3.2: 400; the type of targets drops it before anybody can look",
            Taken("GET /a "),
        ),
        row(
            "an authority that is no CONNECT",
            line("GET a:80 HTTP/1.1"),
            "9112 §3.2.3: 400",
            Refused(400),
        ),
        row("a CONNECT of a path", line("CONNECT / HTTP/1.1"), "9112 §3.2.3: 400", Refused(400)),
        row(
            "a CONNECT without a port",
            line("CONNECT a HTTP/1.1"),
            "9110 §9.3.6: 400",
            Refused(400),
        ),
        row(
            "a CONNECT of a port alone",
            line("CONNECT :443 HTTP/1.1"),
            "9110 §9.3.6: 400",
            Refused(400),
        ),
        row("a CONNECT of two", line("CONNECT a,b:443 HTTP/1.1"), "9110 §9.3.6: 400", Refused(400)),
        row(
            "a CONNECT",
            line("CONNECT a:443 HTTP/1.1"),
            "9110 §9.3.6: the service's",
            LastTaken("CONNECT a:443 "),
        ),
        row("a target over the limit", line(&long), "9110 §15.5.15: 414 or 431", Refused(431)),
    ]
}

fn methods_and_versions() -> Vec<Row> {
    vec![
        row("a TRACE", line("TRACE / HTTP/1.1"), "9110 §9.3.8: the service's", Taken("TRACE / ")),
        row(
            "a lower-case method",
            line("get / HTTP/1.1"),
            "9110 §9.1: another method",
            Taken("get / "),
        ),
        row(
            "an unknown method",
            line("BREW /pot HTTP/1.1"),
            "9110 §9.1: the service's",
            Taken("BREW /pot "),
        ),
        row("a method that is no token", line("G(T / HTTP/1.1"), "9110 §5.6.2: 400", Refused(400)),
        row("HTTP/1.0", line("GET / HTTP/1.0"), "9112 §9.3: closes", LastTaken("GET / ")),
        row("HTTP/0.9", "GET /\r\n", "9112 §2.3: 400 or 505", Refused(400)),
        row(
            "HTTP/1.2",
            line("GET / HTTP/1.2"),
            "9110 §2.5: taken or 505; hyper says 400 to what it cannot parse",
            Refused(400),
        ),
        row(
            "HTTP/2.0",
            line("GET / HTTP/2.0"),
            "9110 §15.6.6: 505; hyper says 400 to what it cannot parse",
            Refused(400),
        ),
        row(
            "HTTP/9.9",
            line("GET / HTTP/9.9"),
            "9110 §15.6.6: 505; hyper says 400 to what it cannot parse",
            Refused(400),
        ),
        row("a version in lower case", line("GET / http/1.1"), "9112 §2.3: 400", Refused(400)),
        row("a version of two digits", line("GET / HTTP/1.10"), "9112 §2.3: 400", Refused(400)),
        row("a version that is none", line("GET / HTTP/1."), "9112 §2.3: 400", Refused(400)),
        row(
            "a preface of HTTP/2 that goes on otherwise",
            "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            "9113 §3.4: 400 or close",
            Refused(400),
        ),
    ]
}
