//! Trying again while a service is away, until the router closes.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::counters::Counters;

/// A service that is away is tried again after so long at first, and at last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The router closes, and what is in hand stays for the next one.
#[derive(Debug)]
pub(super) struct GiveUp;

/// See the module.
#[derive(Clone)]
pub(super) struct Retry {
    /// The router closes and will not wait any more.
    pub(super) closing: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
}

impl Retry {
    /// Does it until it succeeds, pausing at most so often.
    pub(super) fn until<E: Display>(
        &self,
        pauses_max: u32,
        attempt: impl Fn() -> Result<(), E>,
    ) -> Result<(), GiveUp> {
        self.patience(pauses_max).answer(attempt)
    }

    /// Asks until it is answered.
    pub(super) fn gives<T, E: Display>(
        &self,
        attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, GiveUp> {
        self.patience(u32::MAX).answer(attempt)
    }

    /// So many pauses.
    fn patience(&self, pauses_max: u32) -> Patience<'_> {
        Patience {
            of: self,
            pauses: 0,
            pauses_max,
            pause: PAUSE_MIN,
        }
    }
}

/// Pauses between tries, each longer than the one before.
struct Patience<'a> {
    of: &'a Retry,
    pauses: u32,
    pauses_max: u32,
    pause: Duration,
}

impl Patience<'_> {
    fn answer<T, E: Display>(
        mut self,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, GiveUp> {
        loop {
            match attempt() {
                Ok(answer) => {
                    if self.pauses > 0 {
                        tracing::info!(tries = self.pauses, "it is back");
                    }
                    return Ok(answer);
                }
                Err(error) => self.wait(&error)?,
            }
        }
    }

    /// Pauses after this error.
    fn wait(&mut self, error: &dyn Display) -> Result<(), GiveUp> {
        if self.pauses == 0 {
            tracing::warn!(%error, "the consumer waits; what was acked lies in the log");
        }
        if self.pauses >= self.pauses_max || self.of.closing.load(Ordering::Relaxed) {
            return Err(GiveUp);
        }
        self.pauses += 1;
        self.of.counters.store_waits.add(1);
        std::thread::park_timeout(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
