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
pub use figures::count;
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
    "Heartbeats beyond what the server asks for: on a full shard it stretches their interval (pings_per_second_max), and the clients here say nothing else at rest.",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flock::record::{Latency, Slice, Stage, Storm, Traffic};

    #[test]
    fn a_run_becomes_json_and_a_page_that_needs_nothing_else() {
        let rtt = Some(Latency {
            messages: 100,
            p50_us: 900,
            p99_us: 2_000,
            max_us: 5_000,
            curve: vec![(0.5, 900), (0.99, 2_000), (1.0, 5_000)],
            ..Latency::default()
        });
        let traffic = Traffic {
            rate_asked: 10_000,
            sent: 100,
            delivered: 100,
            rtt,
            ..Traffic::default()
        };
        let stage = Stage {
            connections: 1_000_000,
            server_user_bytes: Some(287.0),
            traffic: vec![traffic.clone()],
            ..Stage::default()
        };
        let slice = |at_s, phase: &str| Slice {
            at_s,
            seconds: 1.0,
            phase: phase.to_owned(),
            p50_us: Some(700),
            ..Slice::default()
        };
        let flock = Flock {
            url: "wss://127.0.0.1:1".to_owned(),
            established: 1_000_000,
            errors: [("<b>odd</b>".to_owned(), 3)].into(),
            stages: vec![stage],
            traffic,
            storm: Some(Storm {
                slices: vec![slice(1.0, "before"), slice(2.0, "reconnect")],
                ..Storm::default()
            }),
            ..Flock::default()
        };
        let told = serde_json::to_vec(&flock).unwrap();
        let density = Density::compose(Facts::default(), &told).unwrap();
        let again = Density::parse(&density.json().unwrap()).unwrap();
        assert_eq!(again.goals(), density.goals());
        assert_eq!(again.gates(), density.gates());
        let page = again.page().unwrap();
        let parts = [
            "1,000,000 TLS 1.3 connections",
            "p50 900 us, p99 2.0 ms at 1,000,000 connections",
            "not measured",
            "&lt;b&gt;odd",
            "reconnect begins",
        ];
        for part in parts {
            assert!(page.contains(part), "{part}");
        }
        // Memory by layer and by object, latency at the stage and in the hold, the storm's two.
        assert!(page.matches("<svg").count() >= 6);
        for outside in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn another_form_is_refused() {
        assert!(Density::compose(Facts::default(), b"{}").is_err());
        assert!(Density::parse(b"").is_err());
    }
}
