//! Numbers that any thread may change. Nothing is ordered by them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{Metric, Value};

/// Only grows, from 0 at the start of the process.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Reads.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Counter {
    fn read(&self) -> Value {
        Value::Counter(self.value())
    }
}

/// Says what is.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Reads.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Gauge {
    fn read(&self) -> Value {
        Value::Gauge(self.value())
    }
}
