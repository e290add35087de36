//! Bytes of payload that wait for admission: bounded, so that a queue of large messages is as
//! short as the memory for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct QueuedBytes {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl QueuedBytes {
    pub(crate) fn new(bytes_max: u64) -> QueuedBytes {
        QueuedBytes {
            bytes: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// Reserves room; false where there is none.
    pub(crate) fn enter(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) > self.bytes_max {
            self.leave(bytes);
            return false;
        }
        true
    }

    /// Gives it back.
    pub(crate) fn leave(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
