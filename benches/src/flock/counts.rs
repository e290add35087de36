//! What the shards count while they run, for the thread that looks on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Reasons of failures that are told apart; a server that makes each different does not fill memory.
const REASONS_MAX: usize = 64;
/// Seconds that are told apart: a day.
const SECONDS_MAX: usize = 86_400;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Connections that were ready once: logged in, or with --echo open.
    pub(super) established: Count,
    /// Connections that never were.
    pub(super) failed: Count,
    /// Ready ones that ended although nobody asked.
    pub(super) lost: Count,
    /// Ended because we asked.
    pub(super) parted: Count,
    /// Ended because we cut them off, in the storm.
    pub(super) cut: Count,
    /// Ready once more after they were cut off.
    pub(super) reconnected: Count,
    /// Attempts of the storm that failed and are made again.
    pub(super) tried_again: Count,
    /// Conversations opened.
    pub(super) opened: Count,
    /// Messages handed to a connection.
    pub(super) sent: Count,
    /// Messages that were due and had no live connection.
    pub(super) unsent: Count,
    /// Messages acknowledged as durable.
    pub(super) acked: Count,
    /// Messages that arrived at the other client of the pair, or came back as echo.
    pub(super) delivered: Count,
    /// Told by the server to reconnect.
    pub(super) told: Count,
    /// Gone after that.
    pub(super) left: Count,
    /// Ready once more after that.
    pub(super) moved: Count,
    /// Those told, by the second of the server's clock.
    told_in: Mutex<BTreeMap<u64, u64>>,
    failures: Mutex<BTreeMap<String, u64>>,
}

/// One number that shards add to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Counts {
    /// Connections that are ready.
    pub(super) fn live(&self) -> u64 {
        let came = self.established.value() + self.reconnected.value() + self.moved.value();
        let ended = self.lost.value() + self.parted.value() + self.cut.value();
        let went = ended + self.left.value();
        came.saturating_sub(went)
    }

    /// Before messages flow anew.
    pub(super) fn reset_messages(&self) {
        for count in [
            &self.opened,
            &self.sent,
            &self.unsent,
            &self.acked,
            &self.delivered,
        ] {
            count.reset();
        }
    }

    /// The server told a client to reconnect, at this time of its own.
    pub(super) fn told_at(&self, unix_ms: u64) {
        self.told.add_one();
        let mut told_in = self.told_in.lock().unwrap_or_else(PoisonError::into_inner);
        if told_in.len() < SECONDS_MAX {
            *told_in.entry(unix_ms / 1_000).or_default() += 1;
        }
    }

    /// How many were told in each second, from the first in which there was one.
    pub(super) fn told_per_second(&self) -> Vec<u64> {
        let told_in = self.told_in.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((&first, &last)) = told_in.keys().next().zip(told_in.keys().next_back()) else {
            return Vec::new();
        };
        let last = last.min(first.saturating_add(SECONDS_MAX as u64));
        (first..=last)
            .map(|second| told_in.get(&second).copied().unwrap_or_default())
            .collect()
    }

    /// Something went wrong for this reason.
    pub(super) fn note(&self, reason: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = if failures.len() < REASONS_MAX || failures.contains_key(reason) {
            reason
        } else {
            "other"
        };
        *failures.entry(reason.to_owned()).or_default() += 1;
    }

    /// What went wrong, and how often.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
