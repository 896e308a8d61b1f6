//! The areas, and how people choose among them.

use clap::Args;

use crate::case::Case;
use crate::{consumer, context, glue, http, kafka, rabbitmq};

/// What is to be measured.
#[derive(Args)]
pub(crate) struct Areas {
    /// Only these areas; all without one.
    areas: Vec<String>,
}

type Area = (&'static str, fn() -> Vec<Case>);

const AREAS: [Area; 6] = [
    ("consumer", consumer::cases),
    ("context", context::cases),
    ("glue", glue::cases),
    ("http", http::cases),
    ("kafka", kafka::cases),
    ("rabbitmq", rabbitmq::cases),
];

impl Areas {
    /// The cases of the chosen areas, or what is wrong with the choice.
    pub(crate) fn cases(&self) -> Result<Vec<(&'static str, Case)>, String> {
        let is_known = |name: &String| AREAS.iter().any(|area| area.0 == name);
        if let Some(unknown) = self.areas.iter().find(|name| !is_known(name)) {
            let known = AREAS.map(|area| area.0).join(", ");
            return Err(format!("no area `{unknown}`; there is {known}"));
        }
        let is_wanted =
            |name: &str| self.areas.is_empty() || self.areas.iter().any(|wanted| wanted == name);
        let wanted = AREAS.iter().filter(|area| is_wanted(area.0));
        Ok(wanted.flat_map(|area| area.1().into_iter().map(|case| (area.0, case))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_that_does_not_exist_is_named() {
        let areas = |name: &str| Areas { areas: vec![name.to_owned()] }.cases();
        assert!(areas("context").is_ok_and(|cases| !cases.is_empty()));
        assert_eq!(
            areas("contxt").unwrap_err(),
            "no area `contxt`; there is consumer, context, glue, http, kafka, rabbitmq"
        );
    }

    #[test]
    fn no_two_cases_have_the_same_name_and_peer() {
        let cases = Areas { areas: vec![] }.cases().unwrap();
        let mut names: Vec<_> =
            cases.iter().map(|(area, case)| (area, case.name, case.peer.tag)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
