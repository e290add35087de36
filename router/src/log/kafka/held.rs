//! How much waits for its answer, records and bytes, and whether more is taken. Not here: the records,
//! which librdkafka holds.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::log::AppendError;

/// Set in `bytes` once no more is taken.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// A record's share of the bytes besides its body: what librdkafka keeps of it.
const ENTRY_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Held {
    records: AtomicUsize,
    /// And [`CLOSED`]. An appender reserves here first, so zero means that none is on its way.
    bytes: AtomicUsize,
    records_max: usize,
    bytes_max: usize,
}

impl Held {
    pub(super) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            records_max,
            bytes_max: bytes_max.saturating_add(ENTRY_BYTES).min(CLOSED >> 1),
        }
    }

    /// Makes room for a body of so many bytes, until it is [released](Self::release).
    pub(super) fn take(&self, body: usize) -> Result<(), AppendError> {
        let bytes = ENTRY_BYTES + body;
        let held = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let records = self.records.fetch_add(1, Ordering::AcqRel);
        let refused = if held & CLOSED != 0 {
            AppendError::Closed
        } else if held + bytes > self.bytes_max || records >= self.records_max {
            AppendError::Full
        } else {
            return Ok(());
        };
        self.release(body);
        Err(refused)
    }

    /// It was answered, or refused after all.
    pub(super) fn release(&self, body: usize) {
        self.records.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(ENTRY_BYTES + body, Ordering::AcqRel);
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.bytes.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.bytes.load(Ordering::Acquire) & CLOSED != 0
    }

    /// True once closed and everything was released.
    pub(super) fn drained(&self) -> bool {
        self.bytes.load(Ordering::Acquire) == CLOSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_what_is_refused_takes_nothing() {
        let held = Held::new(2, 1000);
        assert_eq!(held.take(1001), Err(AppendError::Full));
        held.take(300).unwrap();
        assert_eq!(held.take(700), Err(AppendError::Full), "bytes");
        held.take(300).unwrap();
        assert_eq!(held.take(0), Err(AppendError::Full), "records");
        held.release(300);
        held.take(10).unwrap();
        held.close();
        assert_eq!(held.take(0), Err(AppendError::Closed));
        assert!(!held.drained());
        held.release(300);
        held.release(10);
        assert!(held.drained() && held.is_closed());
    }

    #[test]
    fn the_longest_record_fits_an_empty_queue() {
        Held::new(1, 1000).take(1000).unwrap();
    }
}
