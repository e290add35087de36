//! The report of a density run: what the load generator measured and what it ran on, as JSON and as one
//! page with plots. Goals are shown, gates decide.
//!
//! Nothing is measured here, and nothing is filled in: a figure that a run does not hold is told as not
//! measured.

mod facts;
mod figures;
mod gates;
mod goals;
mod page;
mod plots;

pub use facts::{Facts, Sysctl};
pub use gates::Gate;
pub use goals::Goal;

use serde::{Deserialize, Serialize};

use crate::flock::Report as Flock;

/// What a run of this kind does not tell, said on its page.
const NOT_MEASURED: [&str; 6] = [
    "A network card: all traffic is on loopback, whose cost (both directions, in softirq) is in the processor time of whoever sends.",
    "A client's machine: both ends share the cores, so that latency holds the load generator's own delays and a connect rate is that of both ends together.",
    "Processor time below 10 ms: the kernel's clock per process has that step.",
    "Talkers beyond those told: at each size the same number of connections talks, spread evenly over all; the others are at rest.",
    "Heartbeats as often as they ship, where the server's configuration below says otherwise.",
    "Other servers: see docs/density.md for these.",
];

/// A run and what it ran on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Density {
    facts: Facts,
    flock: Flock,
    not_measured: Vec<String>,
}

impl Density {
    /// From the load generator's JSON.
    ///
    /// # Errors
    /// It is of another form than this version writes.
    pub fn compose(facts: Facts, flock_json: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self {
            facts,
            flock: serde_json::from_slice(flock_json)?,
            not_measured: NOT_MEASURED.map(str::to_owned).to_vec(),
        })
    }

    /// As it was written.
    ///
    /// # Errors
    /// It is of another form than this version writes.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// For programs.
    ///
    /// # Errors
    /// None that is known; serde allows for some.
    pub fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// Each goal of the project beside what was reached.
    pub fn goals(&self) -> Vec<Goal> {
        goals::all(&self.facts, &self.flock)
    }

    /// What must hold for the run to count as passed.
    pub fn gates(&self) -> Vec<Gate> {
        gates::all(&self.flock)
    }

    /// One page, self-contained.
    ///
    /// # Errors
    /// A plot cannot be drawn.
    pub fn page(&self) -> anyhow::Result<String> {
        page::render(self)
    }
}
