//! [`Params`]: what a path has where its template has names.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

/// A path with names in it, such as `id` of `/orders/{id}`.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) path: Arc<str>,
    names: Vec<Box<str>>,
}

impl Template {
    pub(crate) fn new(path: &str) -> Arc<Self> {
        Arc::new(Self { path: Arc::from(path), names: names(path) })
    }
}

/// The values by where they are in the path, so that they cost no memory of their own.
#[derive(Default)]
pub(crate) struct Params {
    template: Option<Arc<Template>>,
    values: SmallVec<[Range<usize>; 2]>,
}

impl Params {
    pub(crate) fn new(
        template: &Arc<Template>,
        path: &str,
        found: &matchit::Params<'_, '_>,
    ) -> Self {
        let from = |value: &str| (value.as_ptr() as usize).saturating_sub(path.as_ptr() as usize);
        let values = found.iter().map(|(_, value)| from(value)..from(value) + value.len());
        Self { template: Some(Arc::clone(template)), values: values.collect() }
    }

    pub(crate) fn template(&self) -> Option<&Arc<str>> {
        self.template.as_ref().map(|template| &template.path)
    }

    pub(crate) fn get<'a>(&self, name: &str, path: &'a str) -> Option<&'a str> {
        let names = &self.template.as_ref()?.names;
        let at = names.iter().position(|known| **known == *name)?;
        path.get(self.values.get(at)?.clone())
    }

    pub(crate) fn last<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.get(self.values.last()?.clone())
    }
}

/// The names of a template; `{{` is a brace of the path itself.
fn names(template: &str) -> Vec<Box<str>> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            rest = after;
            continue;
        }
        let Some(close) = rest.find('}') else { break };
        names.push(rest[..close].trim_start_matches('*').into());
        rest = &rest[close + 1..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a template makes of a path, by name.
    fn found(template: &str, path: &str) -> Vec<(String, String)> {
        let mut router = matchit::Router::new();
        router.insert(template, ()).unwrap();
        let matched = router.at(path).unwrap();
        let template = Template::new(template);
        let names = &template.names;
        let known: Vec<_> = matched.params.iter().map(|(name, _)| name).collect();
        assert_eq!(known, names.iter().map(|name| &**name).collect::<Vec<_>>());
        let params = Params::new(&template, path, &matched.params);
        let pair = |name: &str| (name.to_owned(), params.get(name, path).unwrap().to_owned());
        names.iter().map(|name| pair(name)).collect()
    }

    #[test]
    fn values_are_found_by_the_names_of_the_template() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for (template, path, expected) in [
            ("/orders", "/orders", &[][..]),
            ("/orders/{id}", "/orders/17", &[("id", "17")]),
            ("/{a}/x/{b}/{c}", "/1/x/2/3", &[("a", "1"), ("b", "2"), ("c", "3")]),
            ("/files/{id}.json", "/files/9.json", &[("id", "9")]),
            ("/files/{*rest}", "/files/a/b", &[("rest", "a/b")]),
            ("/{{id}}/{id}", "/{id}/7", &[("id", "7")]),
        ] {
            assert_eq!(found(template, path), pairs(expected), "{template}");
        }
    }

    #[test]
    fn a_name_that_the_template_has_not_has_no_value() {
        assert_eq!(Params::default().get("id", "/orders/17"), None);
        assert_eq!(Params::default().last("/orders/17"), None);
    }
}
