//! Looks after the gate from the main thread: brings the account of memory up to date, and says at most
//! once a second what admission has done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory;
use crate::admission::{Gate, Since};

/// Between two lines of the log.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Doorman {
    gate: Arc<Gate>,
    since: Since,
    told: Instant,
}

impl Doorman {
    /// Takes the first account.
    pub(super) fn new(gate: Arc<Gate>) -> anyhow::Result<Self> {
        let doorman = Self {
            gate,
            since: Since::default(),
            told: Instant::now(),
        };
        doorman.take_sample()?;
        Ok(doorman)
    }

    fn take_sample(&self) -> anyhow::Result<()> {
        let sample = memory::sample(self.gate.sockets())?;
        self.gate.take_sample(sample);
        Ok(())
    }

    /// Called a few times a second.
    pub(super) fn look(&mut self) {
        let sampled = self.take_sample();
        if self.told.elapsed() < PAUSE {
            return;
        }
        self.told = Instant::now();
        if let Err(error) = sampled {
            // It was readable at the start: the last account stands.
            tracing::warn!(%error, "memory cannot be weighed");
        }
        let added = self.since.look(self.gate.counters());
        if added.is_empty() {
            return;
        }
        let what: Vec<String> = added
            .iter()
            .map(|(name, added)| format!("{name} {added}"))
            .collect();
        tracing::info!(
            connections = self.gate.connections(),
            memory_used_bytes = self.gate.used_bytes(),
            memory_max_bytes = self.gate.limits().memory_max_bytes,
            "admission: {}",
            what.join(", ")
        );
    }
}
