//! What all shards count of a drain and of the stop: atomics, for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module.
#[derive(Debug, Default)]
pub struct Told {
    reconnect: AtomicU64,
    closed: AtomicU64,
    cut_off: AtomicU64,
}

impl Told {
    /// Clients that were sent a Reconnect.
    pub fn reconnect(&self) -> u64 {
        self.reconnect.load(Relaxed)
    }

    /// Clients that were closed with 1001: they had not gone, or there was no time for a Reconnect.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// Connections that ended at our will without a word: they had no WebSocket yet to say it on.
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Relaxed)
    }

    pub(super) fn add_reconnect(&self) {
        self.reconnect.fetch_add(1, Relaxed);
    }

    pub(super) fn add_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub(super) fn add_cut_off(&self) {
        self.cut_off.fetch_add(1, Relaxed);
    }
}
