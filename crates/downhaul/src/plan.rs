//! [`Plan`]: how an app will start and stop, before it does.

use std::fmt::{self, Write};
use std::ops::Add;
use std::time::Duration;

use crate::graph::Graph;
use crate::policy::Policy;

/// What an orchestrator gives over what a stop takes at worst: for the signal to arrive and for the
/// process to end.
const MARGIN: Duration = Duration::from_secs(2);

/// How an app will start and stop: who comes after whom, how long a stop takes at worst, and the
/// grace that the orchestrator must give it.
///
/// Its `Display` is for people, with the lines for Kubernetes and systemd. Nothing is started to
/// make it: see [`App::plan`](crate::App::plan).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The name of the app.
    pub app: String,
    /// How long stopping may take in all.
    pub grace: Duration,
    /// The part of it that is kept for the control interface and telemetry.
    pub reserve: Duration,
    /// Each component, in the order in which they were added.
    pub components: Vec<Planned>,
    /// The components by name, in steps: those of one step start at the same time. They stop the
    /// other way round.
    pub steps: Vec<Vec<String>>,
    /// Those whose stops add up to the longest time, from the first to stop to the last.
    pub critical_path: Vec<String>,
    /// What the limits along the critical path and the reserve add up to: the least grace.
    pub least_grace: Duration,
    /// How long a stop takes at worst: the whole grace, unless each component has a limit and they
    /// add up to less.
    pub worst_case: Duration,
}

/// A component in a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// What it needs, by name.
    pub needs: Vec<String>,
    /// Whether the app is ready only with it.
    pub essential: bool,
    /// How long it may take to stop; `None` is all that the grace leaves it.
    pub stop_within: Option<Duration>,
}

/// The weight of a way down the needs: by time, and by length among equals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Weight(Duration, u32);

impl Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0), self.1 + other.1)
    }
}

impl Plan {
    pub(crate) fn new(
        app: &str,
        grace: Duration,
        reserve: Duration,
        graph: &Graph,
        parts: &[(&str, Policy, bool)],
    ) -> Self {
        let name = |part: &usize| parts[*part].0.to_owned();
        let names = |parts: &[usize]| parts.iter().map(name).collect::<Vec<_>>();
        let components =
            parts.iter().enumerate().map(|(index, (name, policy, essential))| Planned {
                name: (*name).to_owned(),
                needs: names(graph.needs(index)),
                essential: *essential,
                stop_within: policy.stop_within,
            });
        let weight = |part: usize| Weight(parts[part].1.stop_within.unwrap_or_default(), 1);
        let heaviest = graph.heaviest(weight).into_iter().max_by_key(|(weight, _)| *weight);
        let (Weight(limits, _), critical) = heaviest.unwrap_or((Weight(Duration::ZERO, 0), vec![]));
        let least_grace = limits.saturating_add(reserve);
        let bounded = parts.iter().all(|(_, policy, _)| policy.stop_within.is_some());
        Self {
            app: app.to_owned(),
            grace,
            reserve,
            components: components.collect(),
            steps: graph.steps().iter().map(|step| names(step)).collect(),
            critical_path: names(&critical),
            least_grace,
            worst_case: if bounded { least_grace.min(grace) } else { grace },
        }
    }

    /// The grace that the orchestrator must give, in whole seconds: the worst case and 2 s for the
    /// process itself. A `preStop` hook comes on top.
    pub fn orchestrator_grace(&self) -> Duration {
        let needed = self.worst_case.saturating_add(MARGIN);
        Duration::from_secs(needed.as_secs() + u64::from(needed.subsec_nanos() > 0))
    }

    /// The line for a pod's specification.
    pub fn kubernetes(&self) -> String {
        format!("terminationGracePeriodSeconds: {}", self.orchestrator_grace().as_secs())
    }

    /// The line for the `[Service]` section of a unit.
    pub fn systemd(&self) -> String {
        format!("TimeoutStopSec={}", self.orchestrator_grace().as_secs())
    }

    /// The graph of the components in Mermaid's language. An arrow goes to what is needed; what is
    /// optional is dashed.
    pub fn mermaid(&self) -> String {
        let mut text = "graph TD\n".to_owned();
        for (index, part) in self.components.iter().enumerate() {
            let label = part.name.replace('#', "#35;").replace('"', "#quot;");
            // Else it would be taken for HTML.
            let label = label.replace('<', "#lt;").replace('>', "#gt;");
            let _ = writeln!(text, "    c{index}[\"{label}\"]");
            if !part.essential {
                let _ = writeln!(text, "    style c{index} stroke-dasharray: 5 5");
            }
        }
        self.arrows().for_each(|(from, to)| {
            let _ = writeln!(text, "    c{from} --> c{to}");
        });
        text
    }

    /// The graph of the components in Graphviz's language. An arrow goes to what is needed; what is
    /// optional is dashed.
    pub fn graphviz(&self) -> String {
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text = format!("digraph \"{}\" {{\n", quote(&self.app));
        for (index, part) in self.components.iter().enumerate() {
            let dashed = if part.essential { "" } else { ", style=dashed" };
            let _ = writeln!(text, "    c{index} [label=\"{}\"{dashed}];", quote(&part.name));
        }
        self.arrows().for_each(|(from, to)| {
            let _ = writeln!(text, "    c{from} -> c{to};");
        });
        text.push_str("}\n");
        text
    }

    /// Who needs whom, by index.
    fn arrows(&self) -> impl Iterator<Item = (usize, usize)> {
        let index = |name: &String| self.components.iter().position(|part| part.name == *name);
        self.components.iter().enumerate().flat_map(move |(from, part)| {
            part.needs.iter().filter_map(move |need| Some((from, index(need)?)))
        })
    }

    /// Why the app cannot be stopped as planned, if its grace is too short for its limits.
    pub(crate) fn too_short(&self) -> Option<String> {
        let Self { grace, least_grace, reserve, .. } = self;
        let (path, limits) = (self.critical_path.join(", "), least_grace.saturating_sub(*reserve));
        (least_grace > grace).then(|| {
            format!(
                "a grace of {grace:?} is too short: {path} may take {limits:?} to stop one after \
                 another, and {reserve:?} are kept for control and telemetry; give at least \
                 {least_grace:?} with `App::grace`, or less to a component with \
                 `Policy::stop_within`"
            )
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (app, steps) = (&self.app, self.steps.len());
        writeln!(f, "{app} starts in {steps} steps and stops the other way round:")?;
        for (step, names) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>2}  {}", step + 1, names.join(", "))?;
        }
        writeln!(f, "critical path of the stop: {}", self.critical_path.join(", "))?;
        writeln!(f, "worst case: {:?} of a grace of {:?}", self.worst_case, self.grace)?;
        writeln!(f, "Kubernetes: {}", self.kubernetes())?;
        write!(f, "systemd:    {}", self.systemd())
    }
}
