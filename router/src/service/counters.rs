//! What the router counts, for the metrics page.

use rookery_metrics::{Counter, Gauge, Histogram};

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

rookery_metrics::metrics! {
    /// Counters (they only grow) and gauges (they say what is).
    pub struct Counters {
        /// Records given to the log.
        pub appended: Counter,
        /// Acks posted.
        pub acked: Counter,
        /// Sends that were a retry of a message that exists.
        pub dedup_hits: Counter,
        /// Requests refused, for whatever reason.
        pub refused: Counter,
        /// Sends and openings over their user's rate; in the mode `count` they passed.
        pub over_user_rate: Counter,
        /// Sends over their conversation's rate; in the mode `count` they passed.
        pub over_conversation_rate: Counter,
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
        /// 1 while the host's clock is off, so that sends and openings are refused.
        pub clock_off: Gauge,
        /// Partitions that wait for a newer program, which wrote a record of theirs.
        pub held_partitions: Gauge,
        /// Rows that gather for inboxes.
        pub inbox_gathering: Gauge,
        /// Requests that wait for admission.
        pub intake_queue: Gauge,
        /// Durable records that wait for the applier.
        pub apply_queue: Gauge,
        /// Records admitted and not yet in the store.
        pub applier_lag: Gauge,
        /// From the stamp of a message to its ack, in whole milliseconds.
        pub ack_seconds: Histogram,
        /// From the stamp of a message to its way to the shards of its members, in whole milliseconds.
        pub deliver_seconds: Histogram,
    }
}

/// Records the time since a stamp, of which the milliseconds are known: half a one is the mean of the rest.
pub(crate) fn record_since(histogram: &Histogram, hlc: u64, now_ms: u64) {
    let since_ms = now_ms.saturating_sub(hlc >> 16);
    histogram.record_ns(since_ms.saturating_mul(1_000_000) + 500_000);
}
