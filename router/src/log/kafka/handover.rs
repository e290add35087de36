//! From the consumer's thread, which must not stop polling, to the feeder's, which may block as long as
//! the store is away: a queue bounded in records and bytes. News of partitions always fit (there are as
//! many as rebalances), and keep their place among the records.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::log::{Fed, Partition, Record};

/// How much is read ahead of the feeder. One more batch may be put in when there is room for any.
const RECORDS_MAX: usize = 4_000;
const BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
struct State {
    queue: VecDeque<Fed>,
    records: usize,
    bytes: usize,
    /// Nothing more will be put in.
    ended: bool,
    /// Nobody takes any more.
    abandoned: bool,
}

impl State {
    fn has_room(&self) -> bool {
        self.abandoned || (self.records < RECORDS_MAX && self.bytes < BYTES_MAX)
    }
}

#[derive(Default)]
pub(super) struct Handover {
    state: Mutex<State>,
    changed: Condvar,
}

fn bytes_of(records: &[Record]) -> usize {
    records.iter().map(|record| record.body.len()).sum()
}

impl Handover {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; false where there is none after so long.
    pub(super) fn wait_for_room(&self, at_most: Duration) -> bool {
        let full = |state: &mut State| !state.has_room();
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), at_most, full)
            .unwrap_or_else(PoisonError::into_inner);
        state.has_room()
    }

    /// Puts it in, room or not: whoever puts records in has asked before. Dropped where nobody takes.
    pub(super) fn put(&self, fed: Fed) {
        let mut state = self.lock();
        if state.abandoned {
            return;
        }
        if let Fed::Records(records) = &fed {
            state.records += records.len();
            state.bytes += bytes_of(records);
        }
        state.queue.push_back(fed);
        self.changed.notify_all();
    }

    /// Takes out what was not taken yet of partitions that go away: they are somebody else's to apply.
    pub(super) fn withdraw(&self, partitions: &[Partition]) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let (records, bytes) = (&mut state.records, &mut state.bytes);
        state.queue.retain(|fed| match fed {
            Fed::Records(batch) if partitions.contains(&partition_of(batch)) => {
                *records -= batch.len();
                *bytes -= bytes_of(batch);
                false
            }
            _ => true,
        });
        self.changed.notify_all();
    }

    /// The next, waiting for it; none once [ended](Self::end) and empty.
    pub(super) fn take(&self) -> Option<Fed> {
        let empty = |state: &mut State| state.queue.is_empty() && !state.ended;
        let mut state = self
            .changed
            .wait_while(self.lock(), empty)
            .unwrap_or_else(PoisonError::into_inner);
        let fed = state.queue.pop_front();
        if let Some(Fed::Records(records)) = &fed {
            state.records -= records.len();
            state.bytes -= bytes_of(records);
            self.changed.notify_all();
        }
        fed
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Nobody takes any more. Whoever waits for the end of a revocation is let go.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.queue.clear();
        self.changed.notify_all();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }
}

/// A batch is of one partition and never empty.
fn partition_of(batch: &[Record]) -> Partition {
    batch
        .first()
        .map(|record| record.partition)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Offset;

    fn records(partition: u32, offset: u64, count: u64, bytes: usize) -> Fed {
        let record = |n| Record {
            partition: Partition(partition),
            offset: Offset(offset + n),
            at_ms: 0,
            key: 1,
            body: vec![0; bytes],
        };
        Fed::Records((0..count).map(record).collect())
    }

    fn first(fed: Option<Fed>) -> (u32, u64) {
        match fed {
            Some(Fed::Records(records)) => (records[0].partition.0, records[0].offset.0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_bounded_in_records_and_in_bytes() {
        for (count, bytes) in [(RECORDS_MAX as u64, 0), (1, BYTES_MAX)] {
            let handover = Handover::default();
            assert!(handover.wait_for_room(Duration::ZERO));
            handover.put(records(0, 0, count, bytes));
            assert!(!handover.wait_for_room(Duration::from_millis(1)));
            assert_eq!(first(handover.take()), (0, 0));
            assert!(handover.wait_for_room(Duration::ZERO));
        }
    }

    #[test]
    fn what_goes_away_is_withdrawn_and_the_rest_keeps_its_order() {
        let handover = Handover::default();
        handover.put(records(1, 0, RECORDS_MAX as u64, 0));
        handover.put(records(2, 7, 1, 0));
        let (begin, _) = crossbeam::channel::bounded(1);
        let partitions = vec![Partition(3)];
        handover.put(Fed::Assigned { partitions, begin });
        handover.put(records(3, 9, 1, 0));
        handover.withdraw(&[Partition(1)]);
        assert!(handover.wait_for_room(Duration::ZERO), "its room is free");
        assert_eq!(first(handover.take()), (2, 7));
        assert!(matches!(handover.take(), Some(Fed::Assigned { .. })));
        assert_eq!(first(handover.take()), (3, 9));
        handover.end();
        assert!(handover.take().is_none());
    }

    #[test]
    fn who_waits_for_a_revocation_is_let_go_when_nobody_takes() {
        let handover = Handover::default();
        let (done, wait) = crossbeam::channel::bounded(0);
        let partitions = vec![Partition(1)];
        handover.put(Fed::Revoked { partitions, done });
        handover.abandon();
        assert!(wait.recv().is_err());
        handover.put(records(1, 0, RECORDS_MAX as u64, 0));
        assert!(handover.wait_for_room(Duration::ZERO) && handover.is_abandoned());
    }
}
