//! Random ways up through layers, against what was written down beside them.

use std::error::Error;
use std::fmt;

use downhaul_context::traced::{Layer, one_line};
use downhaul_context::{Class, Context, Kind, Traced, TracedError};
use proptest::collection::vec;
use proptest::prelude::*;

/// Stands in every secret and in nothing else.
const SECRET: &str = "hunter2";
const NAMES: [&str; 4] = ["http.get", "orders.get", "repo.find", "cache.read"];
const KEYS: [&str; 3] = ["user_id", "query", "token"];

#[derive(Clone, Debug)]
enum Step {
    Layer(&'static str),
    Value(&'static str, String),
    Secret(&'static str, String),
    Kind(String),
}

fn step() -> impl Strategy<Value = Step> {
    let name = (0..NAMES.len()).prop_map(|index| NAMES[index]);
    let key = (0..KEYS.len()).prop_map(|index| KEYS[index]);
    let text = "\\PC{0,8}[\n\r\t\u{1b}\u{2028}\"\\\\]{0,2}[a-z ]{0,8}";
    prop_oneof![
        name.prop_map(Step::Layer),
        (key.clone(), text).prop_map(|(key, value)| Step::Value(key, value)),
        (key, text).prop_map(|(key, value)| Step::Secret(key, format!("{value}{SECRET}"))),
        text.prop_map(Step::Kind),
    ]
}

/// An error that says what it is told to.
#[derive(Debug)]
struct Said(String, Option<Box<Self>>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Said {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

impl Kind for Said {
    fn class(&self) -> Class {
        Class::Internal
    }
}

/// A layer as it was written down: its name, and its values without the secrets.
type Noted = (&'static str, Vec<(&'static str, Option<String>)>);

fn climb(steps: &[Step]) -> (Traced<Said>, Vec<Noted>) {
    let ctx = Context::background();
    let mut error = Traced::new(&ctx, "first", Said("it broke".to_owned(), None));
    let mut noted: Vec<Noted> = vec![("first", Vec::new())];
    for step in steps.iter().cloned() {
        match step {
            Step::Layer(name) => {
                error = error.layer(name);
                noted.insert(0, (name, Vec::new()));
            }
            Step::Value(key, value) => {
                error = error.kv(key, &value);
                noted[0].1.push((key, Some(value)));
            }
            Step::Secret(key, value) => {
                error = error.kv_secret(key, &value);
                noted[0].1.push((key, None));
            }
            Step::Kind(text) => error = error.map_kind(|below| Said(text, Some(Box::new(below)))),
        }
    }
    (error, noted)
}

/// The texts of the error and its sources.
fn texts(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        texts.push(source.to_string());
        next = source.source();
    }
    texts
}

proptest! {
    #[test]
    fn layers_and_values_stay_in_order_whatever_the_error_becomes(steps in vec(step(), 0..24)) {
        let (error, noted) = climb(&steps);
        let note = |layer: &Layer| {
            let values = layer.values().map(|(key, value)| (key, value.map(str::to_owned)));
            (layer.name(), values.collect())
        };
        let layers: Vec<Noted> = error.layers().map(note).collect();
        prop_assert_eq!(&layers, &noted);
        let erased = TracedError::from(error);
        let layers: Vec<Noted> = erased.layers().map(note).collect();
        prop_assert_eq!(&layers, &noted);
    }

    #[test]
    fn no_secret_is_in_anything_that_is_printed(steps in vec(step(), 0..24)) {
        let (error, _) = climb(&steps);
        let mut printed = format!("{error}{error:#}{error:?}{error:#?}{:?}", error.error());
        printed.extend(error.layers().map(|layer| format!("{layer}{layer:?}{layer:#?}")));
        let erased = TracedError::from(error);
        printed.extend([format!("{erased}{erased:#}{erased:?}{erased:#?}")]);
        printed.extend([one_line(&erased).to_string()]);
        printed.extend(texts(&erased));
        prop_assert!(!printed.contains(SECRET), "{}", printed);
        let secrets = steps.iter().filter(|step| matches!(step, Step::Secret(..))).count();
        prop_assert_eq!(one_line(&erased).to_string().matches("=<redacted>").count(), secrets);
    }

    #[test]
    fn a_line_is_one_line_and_a_tree_has_one_for_each_layer_and_error(steps in vec(step(), 0..24)) {
        let (error, noted) = climb(&steps);
        let line = error.to_string();
        prop_assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{:?}", line);
        let tree = format!("{error:#}");
        let most = noted.len() + texts(error.error()).len();
        prop_assert!((noted.len()..=most).contains(&tree.lines().count()), "{}", tree);
        let erased = TracedError::from(error);
        prop_assert_eq!(one_line(&erased).to_string(), line, "without its type the same");
    }
}
