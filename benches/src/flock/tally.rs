//! Latencies of one run of messages, on the shard that measures them.

use hdrhistogram::Histogram;

/// Longer ones count as this: two minutes.
const LATENCY_US_MAX: u64 = 120_000_000;
/// One part in a thousand.
const DIGITS: u8 = 3;

/// Histograms in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Messages due before this moment belong to an earlier run.
    start_ns: u64,
    pub(super) rtt: Histogram<u64>,
    pub(super) ack: Histogram<u64>,
    /// When the last message arrived.
    pub(super) last_ns: u64,
}

impl Tally {
    /// For the messages that are due at or after this moment.
    pub(super) fn since(start_ns: u64) -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)
                .expect("the bounds are constants that hdrhistogram accepts")
        };
        Self {
            start_ns,
            rtt: empty(),
            ack: empty(),
            last_ns: start_ns,
        }
    }

    /// A message that was due at `due_ns` arrived. Whether it belongs to this run.
    pub(super) fn arrived(&mut self, due_ns: u64, now_ns: u64) -> bool {
        if !self.covers(due_ns, now_ns) {
            return false;
        }
        self.last_ns = self.last_ns.max(now_ns);
        self.rtt.saturating_record((now_ns - due_ns) / 1_000);
        true
    }

    /// A message that was due at `due_ns` was acknowledged. Whether it belongs to this run.
    pub(super) fn acknowledged(&mut self, due_ns: u64, now_ns: u64) -> bool {
        if !self.covers(due_ns, now_ns) {
            return false;
        }
        self.ack.saturating_record((now_ns - due_ns) / 1_000);
        true
    }

    /// A peer may say any number.
    fn covers(&self, due_ns: u64, now_ns: u64) -> bool {
        (self.start_ns..=now_ns).contains(&due_ns)
    }

    /// What came so far; the same run goes on with empty histograms.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self {
            last_ns: self.last_ns,
            ..Self::since(self.start_ns)
        };
        std::mem::replace(self, empty)
    }

    /// Adds another shard's.
    pub(super) fn merge(&mut self, other: &Self) {
        // Same bounds by construction, so that neither addition can fail.
        let _ = self.rtt.add(&other.rtt);
        let _ = self.ack.add(&other.ack);
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn what_was_taken_is_not_told_again() {
        let mut tally = Tally::since(1_000);
        assert!(tally.arrived(1_000, 9_000));
        assert_eq!(tally.take().rtt.len(), 1);
        assert_eq!((tally.rtt.len(), tally.last_ns), (0, 9_000));
        assert!(!tally.arrived(999, 9_000), "still of an earlier run");
        assert!(tally.arrived(2_000, 10_000));
        assert_eq!(tally.take().rtt.len(), 1);
    }

    #[test]
    fn only_this_runs_messages_count() {
        let mut tally = Tally::since(1_000_000);
        assert!(tally.arrived(1_000_000, 3_000_000));
        assert!(!tally.arrived(999_999, 3_000_000), "of an earlier run");
        assert!(!tally.arrived(3_000_001, 3_000_000), "of the future");
        assert!(tally.acknowledged(2_000_000, 2_500_000));
        let mut other = Tally::since(1_000_000);
        assert!(
            other.arrived(1_000_000, u64::MAX),
            "longer than the histogram"
        );
        tally.merge(&other);
        assert_eq!((tally.rtt.len(), tally.ack.len()), (2, 1));
        assert_eq!(tally.rtt.min(), 2_000);
        assert_eq!(tally.last_ns, u64::MAX);
    }
}
