//! [`Run`]: rounds until the time is over, and a table of them.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::fault::Fault;
use super::round::Round;
use super::site::Site;
use super::table::Table;

/// Rounds of one seed.
#[derive(Debug)]
pub struct Run {
    rng: Rng,
    begun: Instant,
    /// No fault begins after it. `None` is a single round.
    until: Option<Instant>,
    rounds: u32,
    table: Table,
}

impl Run {
    /// A run as the environment has it. Prints its seed.
    ///
    /// # Panics
    ///
    /// If a variable is no number.
    pub fn new() -> Self {
        let seed = number("DOWNHAUL_FAULTS_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("DOWNHAUL_FAULTS_SEED={seed}");
        let (begun, minutes) = (Instant::now(), number("DOWNHAUL_FAULTS_MINUTES").unwrap_or(0));
        let until = (minutes > 0).then(|| begun + Duration::from_secs(60 * minutes));
        Self { rng: Rng::with_seed(seed), begun, until, rounds: 0, table: Table::default() }
    }

    /// Has everything of the menu happen to a site, at least once, and prints a table.
    ///
    /// # Panics
    ///
    /// If a promise was broken, or too little has happened to prove anything.
    pub async fn everything<S: Site>(mut self, site: &mut S) {
        let menu = site.menu();
        for (kind, why) in &menu.missing {
            println!("SKIPPED {kind}: {why}");
        }
        loop {
            let faults = menu.plan(&mut self.rng);
            if let Err(why) = self.round(site, &faults).await {
                self.table.took = self.begun.elapsed();
                return println!("SKIPPED the rest of the run: {why}\n{}", self.table);
            }
            if self.is_over() {
                break;
            }
        }
        self.table.took = self.begun.elapsed();
        println!("{}", self.table);
        self.table.assert_proves_something(site.leaves_publishes_unknown());
    }

    /// Has faults happen to a site, one after the other, in one round.
    ///
    /// # Panics
    ///
    /// If a promise was broken.
    pub async fn these<S: Site>(mut self, site: &mut S, faults: &[Fault]) {
        self.until = None;
        if let Err(why) = self.round(site, faults).await {
            println!("SKIPPED the rest of the run: {why}");
        }
    }

    /// # Errors
    ///
    /// Why the site is to blame that it cannot go on.
    async fn round<S: Site>(&mut self, site: &mut S, faults: &[Fault]) -> Result<(), String> {
        self.rounds += 1;
        site.begin(self.rounds);
        let mut round = Round::begin(site, self.rounds).await?;
        let publishing = round.publish(site, &mut self.rng);
        round.makes_progress(site, "the start").await?;
        let before = connections(site);
        for fault in faults {
            if self.until.is_some() && self.is_over() {
                break;
            }
            println!("{fault:?} after {} messages", round.oracle.done());
            round.suffer(site, *fault).await?;
            self.table.count(*fault);
            round.makes_progress(site, &format!("{fault:?}")).await?;
            self.table.outage(round.take_outage(), *fault);
        }
        self.table.reconnects += connections(site) - before;
        publishing.stop().await;
        let report = round.end(site, &mut self.table).await;
        println!("{report}");
        report.assert_clean();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

fn connections(site: &impl Site) -> u64 {
    site.proxy().map_or(0, |proxy| proxy.counts().accepted)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
