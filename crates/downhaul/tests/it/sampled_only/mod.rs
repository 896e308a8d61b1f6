//! Requests and messages that have no span where they are not kept.
//!
//! What a process sees is set up once in it, so each test runs itself again as the [service] that
//! it is about.

mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::env::{current_exe, var_os};
use std::process::Command;

use serde_json::Value;

use self::service::{LINES, REQUESTS, ROOTS};

/// Says to a process that it is the service.
const SERVES: &str = "DOWNHAUL_TEST_SERVES";

/// The spans of a trace that is kept: of a request and its message, or of a batch.
const OF_A_REQUEST: [&str; 5] = ["GET /work", "own", "process q", "publish nobody", "publish t"];
const OF_A_BATCH: [&str; 2] = ["own in a batch", "process b"];
/// And of one that belongs to neither.
const OF_A_ROOT: [&str; 2] = ["publish nobody", "root"];
const OF_A_PUBLISH: [&str; 1] = ["publish nobody"];

/// What the service has written.
struct Written {
    requests: Vec<Placed>,
    /// Publishes that belong to no request and to no span.
    alone: Vec<Placed>,
    /// Publishes of requests, with a context that is not theirs.
    inside: Vec<Placed>,
    /// Its log.
    lines: Vec<Value>,
    /// The names of the spans of each trace.
    traces: BTreeMap<String, BTreeSet<String>>,
}

/// A request, as its handler saw it, or a publish.
struct Placed {
    id: String,
    has_span: bool,
    /// Its place in a trace, if it had one.
    place: String,
}

impl Placed {
    fn read(line: &str) -> Option<Self> {
        let (id, rest) = line.strip_prefix("placed ")?.split_once(' ')?;
        Self::of(id, rest)
    }

    fn publish(line: &str, word: &str) -> Option<Self> {
        Self::of("", line.strip_prefix(word)?.trim_start())
    }

    fn of(id: &str, rest: &str) -> Option<Self> {
        let (has_span, place) = rest.split_once(' ')?;
        Some(Self { id: id.to_owned(), has_span: has_span == "true", place: place.to_owned() })
    }

    fn is_kept(&self) -> bool {
        self.place.ends_with("-01")
    }

    /// The id of its trace.
    fn trace(&self) -> Option<&str> {
        self.place.get(3..35)
    }
}

/// Runs the test of this name again as the service, with these variables.
fn served(name: &str, environment: &[(&str, &str)]) -> Written {
    let mut again = Command::new(current_exe().unwrap());
    again.args(["--exact", &format!("sampled_only::{name}"), "--nocapture"]);
    again.env(SERVES, "1").env("RUST_LOG", "info").envs(environment.iter().copied());
    let ended = again.output().unwrap();
    let [output, log] = [&ended.stdout, &ended.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(ended.status.success(), "{output}{log}");
    let publishes = |word| output.lines().filter_map(|it| Placed::publish(it, word)).collect();
    Written {
        requests: output.lines().filter_map(Placed::read).collect(),
        alone: publishes("alone"),
        inside: publishes("inside"),
        lines: log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        traces: traces(&output),
    }
}

/// Reads spans as they are exported to standard output.
fn traces(output: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut traces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for span in output.split("\nSpan #").skip(1) {
        let field = |name: &str| {
            let mut fields = span.lines().filter_map(|line| line.split_once(':'));
            // What makes spans has a name as well, in quotes.
            let found = fields.find(|(key, value)| key.trim() == name && !value.contains('"'));
            found.map(|(_, value)| value.trim().to_owned()).unwrap()
        };
        traces.entry(field("TraceId")).or_default().insert(field("Name"));
    }
    traces
}

impl Written {
    /// Each request has its id on all of its lines.
    fn assert_all_is_told(&self) {
        assert_eq!(self.requests.len(), REQUESTS.iter().sum::<usize>());
        for request in &self.requests {
            let own = self.lines.iter().filter(|line| line["request_id"] == *request.id);
            let mut told: Vec<_> = own.flat_map(|line| line["message"].as_str()).collect();
            told.sort_unstable();
            assert_eq!(told, LINES, "{} at {}", request.id, request.place);
        }
        let is_one = |line: &&Value| LINES.iter().any(|message| line["message"] == *message);
        let told = self.lines.iter().filter(is_one).count();
        // The request whose handler hangs has one of them.
        assert_eq!(told, self.requests.len() * LINES.len() + 1, "none is without its id");
        let aborted =
            |line: &Value| line["message"].as_str().is_some_and(|it| it.ends_with("aborted"));
        let aborted = self.lines.iter().find(|line| aborted(line)).unwrap();
        assert_eq!(aborted["request_id"], "id-hangs", "of the handler that did not end");
    }

    /// Each message goes on with the trace of its request.
    fn assert_all_go_on(&self) {
        let traces = |all: &[Placed]| -> Vec<_> {
            all.iter().map(|one| one.trace().map(str::to_owned)).collect()
        };
        assert_eq!(traces(&self.inside), traces(&self.requests));
        for request in &self.requests {
            let of = |line: &&Value| line["request_id"] == *request.id;
            let place = self.lines.iter().filter(of).find_map(|line| line["place"].as_str());
            match request.has_span {
                true => assert_eq!(place.unwrap().get(3..35), request.trace(), "{}", request.id),
                // Nobody on its way has a place of its own.
                false => assert_eq!(place, Some(&*request.place), "{}", request.id),
            }
        }
    }

    /// The requests of a kind.
    fn of(&self, kind: usize) -> impl Iterator<Item = &Placed> {
        let begins = format!("id-{kind}-");
        self.requests.iter().filter(move |request| request.id.starts_with(&begins))
    }
}

const SAMPLED: [(&str, &str); 3] = [
    ("OTEL_TRACES_EXPORTER", "console"),
    ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
    ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
];

#[tokio::test]
async fn a_request_that_is_not_kept_has_its_id_on_each_line_and_no_span() {
    if var_os(SERVES).is_some() {
        return service::serve(true).await;
    }
    let written =
        served("a_request_that_is_not_kept_has_its_id_on_each_line_and_no_span", &SAMPLED);
    written.assert_all_is_told();
    written.assert_all_go_on();
    assert!(written.requests.iter().all(|request| request.has_span == request.is_kept()));
    // One of two is kept, and not one of four, which would be if it was decided twice: 300 and 200
    // of 600 are five deviations from the line between them.
    let roots = written.of(0).filter(|request| request.is_kept()).count();
    assert!((251..350).contains(&roots), "{roots}");
    // With a parent, it is as that says.
    assert!(written.of(1).all(|request| request.place.ends_with("-00f067aa0ba902b7-00")));
    assert!(written.of(2).all(Placed::is_kept));
    assert!(written.of(2).all(|request| !request.place.contains("-00f067aa0ba902b7-")));

    // Of what is not kept nothing is exported, whoever made the span.
    let kept = written.requests.iter().filter(|request| request.is_kept());
    let kept: BTreeSet<_> = kept.filter_map(Placed::trace).collect();
    let traces_of = |names: &[&str]| {
        let traces = written.traces.iter().filter(|(_, all)| all.iter().eq(names));
        traces.map(|(trace, _)| trace.as_str()).collect::<BTreeSet<_>>()
    };
    assert_eq!(traces_of(&OF_A_REQUEST), kept);
    let [batches, roots] = [traces_of(&OF_A_BATCH), traces_of(&OF_A_ROOT)].map(|it| it.len());
    let alone = written.alone.iter().filter(|publish| publish.is_kept());
    let alone: BTreeSet<_> = alone.filter_map(Placed::trace).collect();
    assert_eq!(traces_of(&OF_A_PUBLISH), alone);
    let all = kept.len() + batches + roots + alone.len();
    assert_eq!(all, written.traces.len(), "{:?}", written.traces);
    assert!((1..written.requests.len()).contains(&batches), "{batches}");
    assert!(roots > 0, "some are kept");
    assert!((1..ROOTS).contains(&alone.len()), "some are kept: {}", alone.len());
    assert!(written.alone.iter().all(|publish| publish.has_span == publish.is_kept()));
}

#[tokio::test]
async fn what_is_not_kept_though_its_caller_is_says_so_to_those_behind_it() {
    if var_os(SERVES).is_some() {
        return service::serve(true).await;
    }
    let written = served(
        "what_is_not_kept_though_its_caller_is_says_so_to_those_behind_it",
        &[("OTEL_TRACES_EXPORTER", "console"), ("OTEL_TRACES_SAMPLER", "always_off")],
    );
    written.assert_all_is_told();
    written.assert_all_go_on();
    assert!(written.traces.is_empty());
    assert_eq!(written.alone.len(), ROOTS);
    assert!(written.alone.iter().all(|publish| !publish.has_span && publish.trace().is_some()));
    for request in written.of(2) {
        assert!(!request.is_kept() && !request.place.contains("-00f067aa0ba902b7-"));
        assert!(request.trace().is_some_and(|trace| trace.starts_with("0000000000000002")));
    }
}

#[tokio::test]
async fn where_nothing_is_exported_lines_bear_their_id_and_traces_pass_through() {
    if var_os(SERVES).is_some() {
        return service::serve(true).await;
    }
    let written = served(
        "where_nothing_is_exported_lines_bear_their_id_and_traces_pass_through",
        &[("OTEL_TRACES_EXPORTER", "none")],
    );
    written.assert_all_is_told();
    written.assert_all_go_on();
    assert!(written.requests.iter().all(|request| !request.has_span));
    assert!(written.traces.is_empty());
    assert!(written.alone.iter().all(|publish| !publish.has_span && publish.place.is_empty()));
    assert!(written.of(0).all(|request| request.place.is_empty()));
    assert!(written.of(1).all(|request| request.place.ends_with("-00f067aa0ba902b7-00")));
    assert!(written.of(2).all(|request| request.place.ends_with("-00f067aa0ba902b7-01")));
}

#[tokio::test]
async fn with_a_span_for_each_all_lines_bear_their_id_as_well() {
    if var_os(SERVES).is_some() {
        return service::serve(false).await;
    }
    let written = served("with_a_span_for_each_all_lines_bear_their_id_as_well", &SAMPLED);
    written.assert_all_is_told();
    written.assert_all_go_on();
    assert!(written.requests.iter().all(|request| request.has_span));
}
