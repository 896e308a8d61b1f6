//! Events of `tracing`: a field called `message` takes the place of the event's own words.

use super::{File, Violation};

const MACROS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("]; // tidy: the list

pub(super) fn check(file: &File) -> Vec<Violation> {
    if !file.is_rust() {
        return Vec::new();
    }
    let starts = MACROS.into_iter().flat_map(|name| file.text.match_indices(name));
    let silent = starts.filter(|(at, name)| names_message(&file.text[at + name.len()..]));
    let lines = silent.map(|(at, _)| file.text[..at].lines().count().max(1));
    let advice = "call the field otherwise, such as `message_id`";
    lines.map(|line| file.violation(line, "a field `message`".to_owned(), advice)).collect()
}

/// Whether there is such a field before the first text.
fn names_message(arguments: &str) -> bool {
    let fields = arguments.split('"').next().unwrap_or_default();
    fields.split(',').any(|field| {
        let name = field.split('=').next().unwrap_or_default().trim();
        name.trim_start_matches(['%', '?']) == "message"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&File::new("crates/x/src/a.rs", text)).iter().map(|found| found.line).collect()
    }

    #[test]
    fn no_field_takes_the_place_of_what_an_event_says() {
        for field in ["message", "message = id", "%message", "queue, message, error"] {
            assert_eq!(
                lines(&format!("fn f() {{\n    tracing::warn!({field}, \"said\");\n}}")),
                [2]
            );
        }
        assert_eq!(lines("tracing::warn!(\n    queue,\n    message = id,\n    \"said\"\n);"), [1]);
        for fine in
            ["\"the message\"", "message_id = message.id(), \"x\"", "id = x, \"a, message\""]
        {
            assert_eq!(lines(&format!("tracing::warn!({fine});")), [0; 0], "{fine}");
        }
    }
}
