//! [`Environment`]: the variables of OpenTelemetry's specification.
//!
//! As the specification has it, a value that is not known is ignored with a warning: the mistakes
//! are kept until there is a log to write them to. What would export nothing is an error.

#[cfg(feature = "otlp-tls")]
use std::time::Duration;

#[cfg(feature = "otlp")]
use http::Uri;
use tracing_subscriber::EnvFilter;

use super::TelemetryError;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Metrics,
    Traces,
}

/// How it travels to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nothing travels"))]
pub(super) enum Protocol {
    #[cfg(feature = "grpc")]
    Grpc,
    HttpProtobuf,
}

/// Where it is exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    Console,
    Otlp,
    Prometheus,
}

/// The variables that say one thing of OTLP: for the signal, and for all that do not say their own.
macro_rules! otlp {
    ($signal:expr, $what:literal) => {
        match $signal {
            Signal::Metrics => [
                concat!("OTEL_EXPORTER_OTLP_METRICS_", $what),
                concat!("OTEL_EXPORTER_OTLP_", $what),
            ],
            Signal::Traces => [
                concat!("OTEL_EXPORTER_OTLP_TRACES_", $what),
                concat!("OTEL_EXPORTER_OTLP_", $what),
            ],
        }
    };
}

pub(super) type Read = Box<dyn Fn(&str) -> Option<String>>;

pub(super) struct Environment {
    read: Read,
    /// The keys of variables that are ignored, and why they are.
    pub(super) mistakes: Vec<(&'static str, String)>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        Self::new(Box::new(|key| std::env::var(key).ok()))
    }

    pub(super) fn new(read: Read) -> Self {
        Self { read, mistakes: Vec::new() }
    }

    /// The value of a variable. One that is empty is not there.
    fn get(&self, key: &str) -> Option<String> {
        (self.read)(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn ignored(&mut self, key: &'static str, value: &str, want: &str) {
        self.mistakes.push((key, format!("`{value}` is not known here: want {want}")));
    }

    /// Whether nothing is to be exported, whatever else is said.
    pub(super) fn is_disabled(&mut self) -> bool {
        let key = "OTEL_SDK_DISABLED";
        let Some(value) = self.get(key) else { return false };
        let is = |word: &str| value.eq_ignore_ascii_case(word);
        if !is("true") && !is("false") {
            self.ignored(key, &value, "true or false");
        }
        is("true")
    }

    /// The name of the service, where it is said here.
    pub(super) fn service_name(&self) -> Option<String> {
        let attributes = self.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let named = |pair: &str| match pair.split_once('=') {
            Some((key, name)) if key.trim() == "service.name" => {
                Some(name.trim().to_owned()).filter(|name| !name.is_empty())
            }
            _ => None,
        };
        self.get("OTEL_SERVICE_NAME").or_else(|| attributes.split(',').find_map(named))
    }

    /// Where a signal is exported to: what is said, or a collector if there is one.
    pub(super) fn exporters(&mut self, signal: Signal) -> Vec<Exporter> {
        let (key, want) = match signal {
            Signal::Metrics => ("OTEL_METRICS_EXPORTER", "otlp, prometheus, console or none"),
            Signal::Traces => ("OTEL_TRACES_EXPORTER", "otlp, console or none"),
        };
        let value = self.get(key).unwrap_or_default();
        let (mut exporters, mut is_said) = (Vec::new(), false);
        for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let exporter = match (&*word.to_ascii_lowercase(), signal) {
                ("none", _) => None,
                ("otlp", _) => Some(Exporter::Otlp),
                ("console", _) => Some(Exporter::Console),
                ("prometheus", Signal::Metrics) => Some(Exporter::Prometheus),
                _ => {
                    self.ignored(key, word, want);
                    continue;
                }
            };
            is_said = true;
            exporters.extend(exporter.filter(|exporter| !exporters.contains(exporter)));
        }
        if is_said { exporters } else { self.collector(signal) }
    }

    fn collector(&self, signal: Signal) -> Vec<Exporter> {
        self.endpoint(signal).map(|_| Exporter::Otlp).into_iter().collect()
    }

    /// The variable that names a collector, and its value.
    pub(super) fn endpoint(&self, signal: Signal) -> Option<(&'static str, String)> {
        self.first(otlp!(signal, "ENDPOINT"))
    }

    /// The collector, as far as it may be told: without credentials, which are before its name or
    /// behind it.
    #[cfg(feature = "otlp")]
    pub(super) fn collector_name(&self, signal: Signal) -> Option<String> {
        let (_, endpoint) = self.endpoint(signal)?;
        let endpoint: Uri = endpoint.parse().ok()?;
        let scheme = endpoint.scheme_str().map(|scheme| format!("{scheme}://"));
        let authority = endpoint.authority()?.as_str();
        let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
        Some(scheme.unwrap_or_default() + host)
    }

    /// The file with whom to trust under TLS.
    #[cfg(feature = "otlp-tls")]
    pub(super) fn authority(&self, signal: Signal) -> Option<(&'static str, String)> {
        self.first(otlp!(signal, "CERTIFICATE"))
    }

    /// The file with the certificate of this service.
    #[cfg(feature = "otlp-tls")]
    pub(super) fn certificate(&self, signal: Signal) -> Option<(&'static str, String)> {
        self.first(otlp!(signal, "CLIENT_CERTIFICATE"))
    }

    /// The file with its private key.
    #[cfg(feature = "otlp-tls")]
    pub(super) fn key(&self, signal: Signal) -> Option<(&'static str, String)> {
        self.first(otlp!(signal, "CLIENT_KEY"))
    }

    /// How long a collector may take for an answer. The exporter says what is wrong with it.
    #[cfg(feature = "otlp-tls")]
    pub(super) fn timeout(&self, signal: Signal) -> Duration {
        let millis = self.first(otlp!(signal, "TIMEOUT")).and_then(|(_, text)| text.parse().ok());
        millis.map_or(opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
    }

    fn first(&self, keys: [&'static str; 2]) -> Option<(&'static str, String)> {
        keys.into_iter().find_map(|key| Some((key, self.get(key)?)))
    }

    /// How a signal travels to a collector.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nothing travels"))]
    pub(super) fn protocol(&mut self, signal: Signal) -> Result<Protocol, TelemetryError> {
        for key in otlp!(signal, "PROTOCOL") {
            let Some(value) = self.get(key) else { continue };
            match &*value.to_ascii_lowercase() {
                "http/protobuf" => return Ok(Protocol::HttpProtobuf),
                #[cfg(feature = "grpc")]
                "grpc" => return Ok(Protocol::Grpc),
                #[cfg(not(feature = "grpc"))]
                "grpc" => return Err(TelemetryError::NotBuilt { key, feature: "grpc" }),
                _ => self.ignored(key, &value, "http/protobuf or grpc"),
            }
        }
        Ok(Protocol::HttpProtobuf)
    }

    /// The filter of lines is read where they are written.
    pub(super) fn check_filter(&mut self) {
        let key = "RUST_LOG";
        if let Some(filter) = self.get(key).filter(|filter| filter.parse::<EnvFilter>().is_err()) {
            self.ignored(key, &filter, "directives such as `info,shop=debug`");
        }
    }

    /// The SDK reads the sampler itself, letter by letter, and says what is wrong with it before
    /// there is a log.
    pub(super) fn check_sampler(&mut self) {
        const PLAIN: [&str; 4] =
            ["always_on", "always_off", "parentbased_always_on", "parentbased_always_off"];
        const RATIOS: [&str; 2] = ["traceidratio", "parentbased_traceidratio"];
        let [key, argument] = ["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"];
        let read = |key| (self.read)(key).filter(|value| !value.is_empty());
        let (Some(sampler), ratio) = (read(key), read(argument)) else { return };
        if !RATIOS.contains(&&*sampler) {
            if !PLAIN.contains(&&*sampler) {
                self.ignored(key, &sampler, &[&PLAIN[..], &RATIOS[..]].concat().join(", "));
            }
            return;
        }
        let is_one = |ratio: &String| ratio.parse().is_ok_and(|it: f64| (0.0..=1.0).contains(&it));
        if let Some(ratio) = ratio.filter(|ratio| !is_one(ratio)) {
            self.ignored(argument, &ratio, "a number from 0 to 1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let variables: std::collections::HashMap<_, _> = variables.iter().map(owned).collect();
        Environment::new(Box::new(move |key| variables.get(key).cloned()))
    }

    fn mistaken(environment: &Environment) -> Vec<&'static str> {
        environment.mistakes.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn a_signal_goes_to_a_collector_that_is_named_and_nowhere_else_unless_it_is_said() {
        let traces = |variables: &[(&str, &str)]| {
            let mut environment = environment(variables);
            let exporters = environment.exporters(Signal::Traces);
            assert!(environment.mistakes.is_empty());
            exporters
        };
        assert_eq!(traces(&[]), []);
        assert_eq!(traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), []);
        assert_eq!(traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c")]), [Exporter::Otlp]);
        assert_eq!(traces(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c")]), []);
        let none = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_EXPORTER", "none")];
        assert_eq!(traces(&none), []);
        assert_eq!(traces(&[("OTEL_TRACES_EXPORTER", "console")]), [Exporter::Console]);
    }

    #[test]
    fn metrics_go_to_several_places_if_it_is_said() {
        let mut environment = environment(&[("OTEL_METRICS_EXPORTER", "otlp, prometheus")]);
        let both = [Exporter::Otlp, Exporter::Prometheus];
        assert_eq!(environment.exporters(Signal::Metrics), both);
    }

    #[test]
    fn a_mistake_is_named_with_its_key_and_ignored() {
        let mut environment = environment(&[
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "10%"),
        ]);
        assert!(!environment.is_disabled());
        assert_eq!(environment.exporters(Signal::Traces), []);
        assert_eq!(environment.protocol(Signal::Traces).unwrap(), Protocol::HttpProtobuf);
        environment.check_sampler();
        let keys = [
            "OTEL_SDK_DISABLED",
            "OTEL_TRACES_EXPORTER",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_TRACES_SAMPLER_ARG",
        ];
        assert_eq!(mistaken(&environment), keys);
        let words = &environment.mistakes[2].1;
        assert_eq!(words, "`carrier-pigeon` is not known here: want http/protobuf or grpc");
    }

    #[test]
    fn samplers_of_the_specification_are_no_mistake() {
        for sampler in ["always_off", "parentbased_always_on", "parentbased_traceidratio"] {
            let ratio = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
            let mut environment = environment(&[("OTEL_TRACES_SAMPLER", sampler), ratio]);
            environment.check_sampler();
            assert_eq!(mistaken(&environment), [""; 0], "{sampler}");
        }
    }

    #[test]
    fn the_protocol_of_the_signal_comes_before_that_of_all() {
        let all = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        let mut environment = environment(&[all, own]);
        assert_eq!(environment.protocol(Signal::Traces).unwrap(), Protocol::HttpProtobuf);
        #[cfg(feature = "grpc")]
        assert_eq!(environment.protocol(Signal::Metrics).unwrap(), Protocol::Grpc);
        #[cfg(not(feature = "grpc"))]
        {
            let error = environment.protocol(Signal::Metrics).unwrap_err().to_string();
            assert!(error.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL: "), "{error}");
        }
    }

    #[test]
    #[cfg(feature = "otlp")]
    fn a_collector_is_told_without_its_credentials() {
        for (endpoint, told) in [
            ("http://collector:4318", Some("http://collector:4318")),
            ("https://me:s3cret@collector/v1?key=s3cret", Some("https://collector")),
            ("collector:4317", Some("collector:4317")),
            ("s3cret of another kind", None),
        ] {
            let environment = environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
            assert_eq!(environment.collector_name(Signal::Traces).as_deref(), told);
        }
    }

    #[test]
    fn the_name_of_the_service_is_that_of_the_environment_if_it_has_one() {
        assert_eq!(environment(&[]).service_name(), None);
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "team=a, service.name = shop");
        assert_eq!(environment(&[attributes]).service_name().unwrap(), "shop");
        let name = ("OTEL_SERVICE_NAME", "store");
        assert_eq!(environment(&[attributes, name]).service_name().unwrap(), "store");
    }

    #[test]
    fn words_are_known_in_capitals_too() {
        let mut environment = environment(&[
            ("OTEL_TRACES_EXPORTER", "OTLP"),
            ("OTEL_METRICS_EXPORTER", "Prometheus"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
        ]);
        assert_eq!(environment.exporters(Signal::Traces), [Exporter::Otlp]);
        assert_eq!(environment.exporters(Signal::Metrics), [Exporter::Prometheus]);
        assert_eq!(environment.protocol(Signal::Traces).unwrap(), Protocol::HttpProtobuf);
        assert_eq!(mistaken(&environment), [""; 0]);
    }

    #[test]
    fn an_exporter_that_is_not_known_is_as_if_it_were_not_there() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        let mut environment = environment(&[collector, ("OTEL_TRACES_EXPORTER", "zipkin")]);
        assert_eq!(environment.exporters(Signal::Traces), [Exporter::Otlp]);
        assert_eq!(mistaken(&environment), ["OTEL_TRACES_EXPORTER"]);
    }

    #[test]
    fn what_is_said_twice_is_exported_once() {
        let mut environment = environment(&[("OTEL_TRACES_EXPORTER", "otlp,console,otlp")]);
        let both = [Exporter::Otlp, Exporter::Console];
        assert_eq!(environment.exporters(Signal::Traces), both);
    }

    #[test]
    fn a_ratio_that_is_not_said_is_no_mistake() {
        let mut environment = environment(&[("OTEL_TRACES_SAMPLER", "traceidratio")]);
        environment.check_sampler();
        assert_eq!(mistaken(&environment), [""; 0]);
    }

    #[test]
    fn a_sampler_that_the_sdk_does_not_know_is_a_mistake_however_little_is_wrong_with_it() {
        let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
        for variables in [
            &[("OTEL_TRACES_SAMPLER", "always_off ")][..],
            &[("OTEL_TRACES_SAMPLER", "ALWAYS_OFF")],
            &[ratio, ("OTEL_TRACES_SAMPLER_ARG", " 0.1")],
        ] {
            let mut environment = environment(variables);
            environment.check_sampler();
            assert_eq!(mistaken(&environment).len(), 1, "{variables:?}");
        }
    }

    #[test]
    fn an_empty_name_of_the_service_is_none() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=,team=a");
        assert_eq!(environment(&[attributes]).service_name(), None);
    }

    #[test]
    fn a_filter_of_lines_that_cannot_be_read_is_a_mistake() {
        for (filter, mistakes) in [("info,shop=debug", 0), ("", 0), ("info,shop=verbose", 1)] {
            let mut environment = environment(&[("RUST_LOG", filter)]);
            environment.check_filter();
            assert_eq!(mistaken(&environment).len(), mistakes, "{filter}");
        }
    }
}
