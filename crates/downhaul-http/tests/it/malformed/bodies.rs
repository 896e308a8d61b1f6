//! Where a body ends: lengths, codings and chunks.

use super::{LastTaken, Refused, Row, Taken, check, row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths() {
    check(measured()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codings() {
    check(coded()).await;
    check(both()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks() {
    check(sizes()).await;
    check(ends()).await;
    check(trailers()).await;
}

/// A request with these lines besides its host, and with this body.
fn with(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}")
}

/// What would be smuggled: by one reading it is a body, by another it is a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn measured() -> Vec<Row> {
    let length = |length: &str| with(&format!("Content-Length: {length}"), "abc");
    vec![
        row("a length", length("3"), "9112 §6.2: taken", Taken("POST / abc")),
        row("a length with zeros in front", length("003"), "9110 §8.6: taken", Taken("POST / abc")),
        row(
            "two lengths that differ",
            with("Content-Length: 3\r\nContent-Length: 4", "abc"),
            "9112 §6.3: 400",
            Refused(400),
        ),
        row(
            "two lengths that do not",
            with("Content-Length: 3\r\nContent-Length: 3", "abc"),
            "9110 §8.6: taken or 400",
            Taken("POST / abc"),
        ),
        row("a list of lengths", length("3, 3"), "9110 §8.6: taken or 400", Refused(400)),
        row("a list of lengths that differ", length("3, 4"), "9112 §6.3: 400", Refused(400)),
        row("a negative length", length("-3"), "9112 §6.3: 400", Refused(400)),
        row("a length with a plus", length("+3"), "9112 §6.3: 400", Refused(400)),
        row("a length in hex", length("0x3"), "9112 §6.3: 400", Refused(400)),
        row("a length with a point", length("3.0"), "9112 §6.3: 400", Refused(400)),
        row("a length with a space in it", length("3 3"), "9112 §6.3: 400", Refused(400)),
        row("a length with a unit", length("3b"), "9112 §6.3: 400", Refused(400)),
        row("a length of nothing", length(""), "9112 §6.3: 400", Refused(400)),
        row("a length in other digits", length("\u{0663}"), "9112 §6.3: 400", Refused(400)),
        row(
            "a length beyond 64 bits",
            length("18446744073709551619"),
            "9110 §8.6: 400",
            Refused(400),
        ),
        row("a length beyond the limit", length("9999999999"), "9110 §15.5.14: 413", Refused(413)),
        row(
            "a length of the largest number",
            length("18446744073709551615"),
            "9110 §15.5.14: 413; hyper keeps this number for itself, and says 431",
            Refused(431),
        ),
        row(
            "a GET with a body",
            with("Content-Length: 3", "abc").replace("POST", "GET"),
            "9110 §9.3.1: may be taken",
            Taken("GET / abc"),
        ),
        row(
            "a POST without a length",
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "9112 §6.3: no body",
            Taken("POST / "),
        ),
    ]
}

fn coded() -> Vec<Row> {
    let coding = |coding: &str| with(&format!("Transfer-Encoding: {coding}"), "0\r\n\r\n");
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    vec![
        row("a coding that is not chunked", coding("gzip"), "9112 §6.1: 400", Refused(400)),
        row("a coding before chunked", coding("gzip, chunked"), "9112 §6.1: 501", Refused(501)),
        row("a coding after chunked", coding("chunked, gzip"), "9112 §6.3: 400", Refused(400)),
        row("chunked twice", coding("chunked, chunked"), "9112 §6.1: 400", Refused(400)),
        row(
            "chunked in two headers",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "9112 §6.1: 400",
            Refused(400),
        ),
        row(
            "chunked and another in two headers",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", "0\r\n\r\n"),
            "9112 §6.3: 400",
            Refused(400),
        ),
        row(
            "identity",
            coding("identity"),
            "9112 §6.1: 501; hyper says 400, since it does not end in chunked",
            Refused(400),
        ),
        row(
            "nearly chunked",
            coding("xchunked"),
            "9112 §6.1: 501; hyper says 400, since it does not end in chunked",
            Refused(400),
        ),
        row(
            "chunked in quotes",
            coding("\"chunked\""),
            "9112 §6.1: 501; hyper says 400, since it does not end in chunked",
            Refused(400),
        ),
        row("chunked with a parameter", coding("chunked;a=b"), "9112 §7.1: 400", Refused(400)),
        row("chunked with a byte in front", coding("\x0bchunked"), "9112 §6.1: 400", Refused(400)),
        row(
            "chunked with a comma in front",
            coding(", chunked"),
            "9110 §5.6.1: may be taken",
            Refused(400),
        ),
        row("a coding of nothing", coding(""), "9112 §6.1: 400", Refused(400)),
        row("chunked in capitals", coding("CHUNKED"), "9112 §7: taken", Taken("POST / ")),
        row("chunked with space around", coding(" chunked "), "9110 §5.5: taken", Taken("POST / ")),
        row("chunked in HTTP/1.0", old, "9112 §6.1: 400", Refused(400)),
    ]
}

fn both() -> Vec<Row> {
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked";
    vec![
        row(
            "a length beside chunked",
            with(both, "0\r\n\r\n"),
            "9112 §6.3: chunked, and close",
            LastTaken("POST / "),
        ),
        row(
            "chunked in front of a length",
            with("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
            "9112 §6.3: chunked, and close",
            LastTaken("POST / "),
        ),
        row(
            "a length beside chunked, and a request in between",
            with(both, &format!("0\r\n\r\n{SMUGGLED}")),
            "9112 §6.3: chunked, and close",
            LastTaken("POST / "),
        ),
        row(
            "a length beside a coding with a space",
            with("Content-Length: 5\r\nTransfer-Encoding : chunked", "0\r\n\r\n"),
            "9112 §5.1: 400",
            Refused(400),
        ),
        row(
            "a length beside nearly chunked",
            with("Content-Length: 5\r\nTransfer-Encoding: xchunked", "0\r\n\r\n"),
            "9112 §6.3: 400",
            Refused(400),
        ),
    ]
}

fn chunked(body: &str) -> String {
    with("Transfer-Encoding: chunked", body)
}

fn sizes() -> Vec<Row> {
    vec![
        row(
            "a request in a chunk",
            chunked(&format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len())),
            "9112 §7.1: a body",
            Taken("POST / GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        row(
            "two chunks",
            chunked("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
            "9112 §7.1: taken",
            Taken("POST / abc"),
        ),
        row(
            "a size in capitals",
            chunked("A\r\n0123456789\r\n0\r\n\r\n"),
            "9112 §7.1: taken",
            Taken("POST / 0123456789"),
        ),
        row(
            "a size with zeros in front",
            chunked("0003\r\nabc\r\n000\r\n\r\n"),
            "9112 §7.1: taken",
            Taken("POST / abc"),
        ),
        row(
            "an extension",
            chunked("3;a=b;c=\"d\"\r\nabc\r\n0\r\n\r\n"),
            "9112 §7.1.1: ignored",
            Taken("POST / abc"),
        ),
        row(
            "a space after the size",
            chunked("3 \r\nabc\r\n0\r\n\r\n"),
            "9112 §7.1.1: 400; hyper takes it, and nothing splits there",
            Taken("POST / abc"),
        ),
        row("no size", chunked("\r\nabc\r\n0\r\n\r\n"), "9112 §7.1: 400", Refused(400)),
        row(
            "a size that is no hex",
            chunked("g\r\nabc\r\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
        row("a size with 0x", chunked("0x3\r\nabc\r\n0\r\n\r\n"), "9112 §7.1: 400", Refused(400)),
        row("a negative size", chunked("-3\r\nabc\r\n0\r\n\r\n"), "9112 §7.1: 400", Refused(400)),
        row(
            "a size with a plus",
            chunked("+3\r\nabc\r\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
        row(
            "a size beyond 64 bits",
            chunked("10000000000000003\r\nabc\r\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
        row(
            "a size of the largest number",
            chunked("ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            "9110 §15.5.14: 413 once so much has come; it does not",
            Refused(408),
        ),
    ]
}

fn ends() -> Vec<Row> {
    let smuggled = format!("0\r\n\r\n{SMUGGLED}");
    vec![
        row(
            "a size with a low line",
            chunked("0_3\r\nabc\r\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
        row(
            "a size that ends in a bare LF",
            chunked("3\nabc\r\n0\r\n\r\n"),
            "9112 §2.2: 400",
            Refused(400),
        ),
        row(
            "a size that ends in a bare CR",
            chunked("3\rabc\r\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
        row(
            "a bare LF in an extension",
            chunked(&format!("3;a\nabc\r\n{smuggled}")),
            "9112 §7.1.1: 400",
            Refused(400),
        ),
        row(
            "a bare CR in an extension",
            chunked(&format!("3;a\rabc\r\n{smuggled}")),
            "9112 §7.1.1: 400",
            Refused(400),
        ),
        row(
            "an extension without an end",
            chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(64 << 10))),
            "9112 §7.1.1: a bound",
            Refused(400),
        ),
        row("no CRLF after a chunk", chunked("3\r\nabc0\r\n\r\n"), "9112 §7.1: 400", Refused(400)),
        row(
            "a bare LF after a chunk",
            chunked("3\r\nabc\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
        row(
            "a chunk that is longer than it says",
            chunked("3\r\nabcd\r\n0\r\n\r\n"),
            "9112 §7.1: 400",
            Refused(400),
        ),
    ]
}

fn trailers() -> Vec<Row> {
    vec![
        row(
            "a bare LF at the end",
            chunked("0\r\n\n"),
            "9112 §7.1: 400; hyper takes what follows for trailers, so that nothing is smuggled",
            LastTaken("POST / "),
        ),
        row("trailers", chunked("0\r\na: b\r\n\r\n"), "9110 §6.5: taken", Taken("POST / ")),
        row(
            "trailers that frame",
            chunked("0\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\n\r\n"),
            "9110 §6.5.1: ignored; nobody merges trailers into headers here",
            Taken("POST / "),
        ),
        row(
            "a trailer with a space before the colon",
            chunked("0\r\na : b\r\n\r\n"),
            "9112 §5.1: 400",
            Refused(400),
        ),
        row("a trailer without a colon", chunked("0\r\na\r\n\r\n"), "9112 §5: 400", Refused(400)),
        row(
            "trailers without an end",
            chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(10_000))),
            "6585 §5: a bound",
            Refused(400),
        ),
    ]
}
