//! A clock and a disk that a test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rookery_router::{Clock, Space};

/// Clocks that stand until they are set: the wall clock, and the steady one.
pub struct HandClock {
    wall_ms: AtomicU64,
    steady_ms: AtomicU64,
}

/// A day in 2026.
pub const NOW_MS: u64 = 1_790_000_000_000;
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl HandClock {
    pub fn new() -> Arc<HandClock> {
        Arc::new(HandClock {
            wall_ms: AtomicU64::new(NOW_MS),
            steady_ms: AtomicU64::new(0),
        })
    }

    /// Time passes.
    pub fn pass(&self, ms: u64) {
        self.steady_ms.fetch_add(ms, Ordering::Relaxed);
        self.forward(ms);
    }

    /// The wall clock is set.
    pub fn forward(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub fn back(&self, ms: u64) {
        self.wall_ms.fetch_sub(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }

    fn steady_ms(&self) -> u64 {
        self.steady_ms.load(Ordering::Relaxed)
    }
}

/// A disk whose free space is what the test says.
pub struct HandSpace(pub AtomicU64);

impl Space for HandSpace {
    fn free_bytes(&self, _: &std::path::Path) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed))
    }
}
