//! What the router counts, for the metrics page.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that any thread may raise.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets; for gauges.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Reads.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Can new messages be taken?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Serving,
    /// No room on the disk: refused until there is.
    StorageFull,
    /// The store failed: what was acked lies in the log; start the process again.
    StoreFailed,
}

/// Counters (they only grow) and gauges (they say what is).
#[derive(Debug, Default)]
pub struct Counters {
    /// Records given to the log.
    pub appended: Counter,
    /// Acks posted.
    pub acked: Counter,
    /// Sends that were a retry of a message that exists.
    pub dedup_hits: Counter,
    /// Requests refused, for whatever reason.
    pub refused: Counter,
    /// Records that the log could not make durable.
    pub append_failed: Counter,
    /// Records written to the store.
    pub applied: Counter,
    /// Fan-out events posted.
    pub fanned_out: Counter,
    /// Sync, History, Outbox and List requests answered.
    pub reads: Counter,
    /// Receipts of devices written to the store.
    pub receipts: Counter,
    /// Acks of devices dropped because too many waited: their messages come again.
    pub receipts_dropped: Counter,
    /// Times that a thread found a shard's mailbox full and waited.
    pub outlet_waits: Counter,
    /// Records of a shared log that were a message that it had already.
    pub duplicates: Counter,
    /// Records that could not be applied and were put aside.
    pub buried: Counter,
    /// Times that the consumer of a shared log waited for a service that was away.
    pub store_waits: Counter,
    /// Events dropped because the shards took none while the router closed.
    pub dropped_at_close: Counter,
    /// Gauge: 1 while the host's clock is off, so that sends and openings are refused.
    pub clock_off: Counter,
    /// Gauge: partitions that wait for a newer program, which wrote a record of theirs.
    pub held_partitions: Counter,
    /// Gauge: rows that gather for inboxes.
    pub inbox_gathering: Counter,
    /// Gauge: requests that wait for admission.
    pub intake_queue: Counter,
    /// Gauge: durable records that wait for the applier.
    pub apply_queue: Counter,
    /// Gauge: records admitted and not yet in the store.
    pub applier_lag: Counter,
}
