//! How often something took how long: a bucket for each power of two of microseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::{Metric, Value};

/// Upper bounds of the buckets: 2^0 to 2^24 us (16.8 s).
pub const BOUNDS: usize = 25;

/// See the module. 216 bytes; a record is two additions.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one is for what took longer.
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

/// What a histogram, or the sum of several, says at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Records by bucket, not cumulative; the last one is for what took longer than the last bound.
    pub buckets: [u64; BOUNDS + 1],
    /// Of all records, ns.
    pub sum_ns: u64,
}

impl Histogram {
    /// One more.
    pub fn record(&self, took: Duration) {
        self.record_ns(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// One more, in nanoseconds.
    pub fn record_ns(&self, took_ns: u64) {
        self.buckets[bucket(took_ns)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(took_ns, Relaxed);
    }

    /// What it says now. Records that are made meanwhile may be in one of its numbers and not in another.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Relaxed)),
            sum_ns: self.sum_ns.load(Relaxed),
        }
    }
}

impl Metric for Histogram {
    fn read(&self) -> Value {
        Value::Histogram(Box::new(self.snapshot()))
    }
}

/// The first bucket whose bound is not below it.
fn bucket(took_ns: u64) -> usize {
    let us = took_ns.div_ceil(1_000);
    let bits = u64::BITS - us.saturating_sub(1).leading_zeros();
    (bits as usize).min(BOUNDS)
}

impl Snapshot {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += bucket;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// All records.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bound of a bucket, seconds; infinite for the last.
    pub fn bound_s(bucket: usize) -> f64 {
        if bucket < BOUNDS {
            (1u64 << bucket) as f64 / 1e6
        } else {
            f64::INFINITY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_to_the_next() {
        let histogram = Histogram::default();
        for ns in [0, 1, 1_000, 1_001, 2_000, 2_001, 4_000] {
            histogram.record_ns(ns);
        }
        histogram.record(Duration::from_secs(3_600));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..3], [3, 2, 2]);
        assert_eq!((snapshot.buckets[BOUNDS], snapshot.count()), (1, 8));
        assert_eq!(snapshot.sum_ns, 3_600_000_010_003);
        assert_eq!(bucket(16_777_216_000), BOUNDS - 1);
        assert_eq!(bucket(16_777_216_001), BOUNDS);
        assert_eq!(bucket(u64::MAX), BOUNDS);
    }

    #[test]
    fn several_are_added_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record_ns(1_000);
        other.record_ns(1_500);
        let mut sum = Snapshot::default();
        sum.add(&one.snapshot());
        sum.add(&other.snapshot());
        assert_eq!((sum.buckets[0], sum.buckets[1], sum.sum_ns), (1, 1, 2_500));
        assert_eq!(Snapshot::bound_s(20), 1.048576);
    }
}
