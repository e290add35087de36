//! Between the feeders and the log's thread: a bounded queue and a bell. Feeders never block; the log's
//! thread parks when there is nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;

use super::api::{AppendError, Ticket};
use crate::bell::Bell;

/// An append that waits for its commit.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) key: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) ticket: Ticket,
}

/// Set in `held` once no more is taken.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// A record's share of the bytes besides its body, so that empty ones count too.
const ENTRY_BYTES: usize = size_of::<Pending>();

#[derive(Debug)]
pub(crate) struct Queue {
    entries: ArrayQueue<Pending>,
    /// Bytes taken or being taken, and [`CLOSED`]. A feeder reserves here before it pushes, so zero
    /// means that no entry is in the queue or on its way into it.
    held: AtomicUsize,
    bytes_max: usize,
    bell: Bell,
}

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: ArrayQueue::new(records_max),
            held: AtomicUsize::new(0),
            bytes_max: bytes_max.saturating_add(ENTRY_BYTES).min(CLOSED >> 1),
            bell: Bell::default(),
        }
    }

    /// From any thread.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), AppendError> {
        let bytes = ENTRY_BYTES + pending.body.len();
        let held = self.held.fetch_add(bytes, Ordering::AcqRel);
        let refused = if held & CLOSED != 0 {
            Some(AppendError::Closed)
        } else if held + bytes > self.bytes_max || self.entries.push(pending).is_err() {
            Some(AppendError::Full)
        } else {
            None
        };
        if let Some(error) = refused {
            self.held.fetch_sub(bytes, Ordering::AcqRel);
            return Err(error);
        }
        self.bell.ring();
        Ok(())
    }

    /// What the log's thread sleeps on.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next entry; its bytes stay held until [`release`](Self::release).
    pub(crate) fn pop(&self) -> Option<Pending> {
        self.entries.pop()
    }

    /// Entries were answered: their bytes are free again.
    pub(crate) fn release(&self, entries: &[Pending]) {
        let bytes: usize = entries
            .iter()
            .map(|entry| ENTRY_BYTES + entry.body.len())
            .sum();
        self.held.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Takes no more. What was taken before is still to be popped.
    pub(crate) fn close(&self) {
        self.held.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// True once closed and every entry was popped and released, feeders caught in the act
    /// included.
    pub(crate) fn drained(&self) -> bool {
        self.held.load(Ordering::Acquire) == CLOSED
    }
}
