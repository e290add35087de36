//! Records that were counted and told, on their way into the store: they gather while those before them
//! are written, by a thread of its own.
//!
//! So the consumer need not wait for the store before it counts the next ones, and a store that stops for
//! a moment holds up nobody who is connected; and what gathered meanwhile is one batch. The invariants:
//! what was put first is stored first; nothing is said to be applied before the store has it; what is on
//! its way is bounded.
//!
//! A message that the store refuses for good would stop everything behind it for ever. It is found by halving
//! the batch; its record is put aside, and its seq, which may have been delivered, keeps an empty message: so
//! seqs stay dense, and nobody asks for a gap again and again. That the store takes the empty one is also what
//! tells a message that it will not have from a store that takes nothing, which is waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::commits::Commits;
use super::counters::Counters;
use super::dead_letters::DeadLetters;
use super::openings::OpenedAt;
use super::progress::Progress;
use super::retry::{GiveUp, Retry};
use crate::log::{Offset, Partition, Record};
use crate::store::{Batch, Store, StoreError};

/// Records that gather at most, and their bytes; what is put last may go beyond.
pub(super) const RECORDS_MAX: u64 = 8_192;
const BYTES_MAX: usize = 8 << 20;
/// With fewer than this the writer lets more gather: a store's work is by the request, and by the round.
const GATHERED_MIN: u64 = 256;

/// What is to be stored of some records.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    pub(super) batch: Batch,
    /// The records that its messages came as, and maybe others.
    pub(super) came_as: Vec<Arc<Vec<Record>>>,
    pub(super) opened: Vec<OpenedAt>,
    /// The next offset of each of their partitions.
    pub(super) reached: BTreeMap<Partition, Offset>,
    pub(super) records: u64,
    pub(super) bytes: usize,
    /// Those of them that were a message that the log had already.
    pub(super) duplicates: u64,
}

impl Unstored {
    /// Adds those that come next.
    fn add(&mut self, next: Unstored) {
        self.batch.add(next.batch);
        self.opened.extend(next.opened);
        self.came_as.extend(next.came_as);
        self.reached.extend(next.reached);
        self.records += next.records;
        self.bytes += next.bytes;
        self.duplicates += next.duplicates;
    }

    fn is_full(&self) -> bool {
        self.records >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }
}

/// What the consumer and the writer share.
#[derive(Debug, Default)]
pub(super) struct Storing {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    gathered: Option<Unstored>,
    writing: bool,
    /// Nothing more is put.
    ended: bool,
    /// Nothing more is written.
    given_up: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.gathered.is_none() && !self.writing
    }
}

impl Storing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.moved.notify_all();
        changed
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.moved
            .wait_while(self.state(), |state| condition(state))
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer's: hands over, once there is room.
    pub(super) fn put(&self, unstored: Unstored) -> Result<(), GiveUp> {
        let is_full = |state: &State| state.gathered.as_ref().is_some_and(Unstored::is_full);
        let mut state = self.wait_while(|state| is_full(state) && !state.given_up);
        if state.given_up {
            return Err(GiveUp);
        }
        match &mut state.gathered {
            Some(gathered) => gathered.add(unstored),
            none => *none = Some(unstored),
        }
        drop(state);
        self.moved.notify_all();
        Ok(())
    }

    /// The consumer's: waits until everything is stored that was put.
    pub(super) fn wait_stored(&self) -> Result<(), GiveUp> {
        let state = self.wait_while(|state| !state.is_idle() && !state.given_up);
        if state.is_idle() { Ok(()) } else { Err(GiveUp) }
    }

    /// The same, but not for longer than that; whether it is.
    pub(super) fn is_stored_within(&self, patience: Duration) -> bool {
        let waits = |state: &mut State| !state.is_idle() && !state.given_up;
        let (state, _) = self
            .moved
            .wait_timeout_while(self.state(), patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_idle()
    }

    /// The consumer's: nothing more will be put.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// The writer's: all that gathered, once there is something, and `more` has given it time where it is
    /// little; none at the end.
    fn take(&self, more: impl FnOnce()) -> Option<Unstored> {
        let mut state = self.wait_while(|state| state.gathered.is_none() && !state.ended);
        let is_little = |of: &Unstored| of.records < GATHERED_MIN;
        if state.gathered.as_ref().is_some_and(is_little) {
            drop(state);
            more();
            state = self.state();
        }
        let taken = state.gathered.take();
        state.writing = taken.is_some();
        drop(state);
        self.moved.notify_all();
        taken
    }
}

/// The thread that writes.
pub(super) struct StoreWriter {
    pub(super) storing: Arc<Storing>,
    pub(super) store: Arc<dyn Store>,
    pub(super) commits: Arc<Commits>,
    pub(super) progress: Arc<Progress>,
    pub(super) counters: Arc<Counters>,
    pub(super) dead_letters: DeadLetters,
    pub(super) retry: Retry,
    /// How long records gather at most; no longer than until somebody waits for them.
    pub(super) gather: Duration,
}

/// What a store says that is there.
enum Said {
    Stored,
    /// For good.
    Refused(StoreError),
}

impl StoreWriter {
    /// Works until nothing more is put, or the router closes while the store is away: then what was not
    /// committed will be consumed again.
    pub(super) fn run(self) {
        let more = || self.progress.dawdle(self.gather);
        while let Some(unstored) = self.storing.take(more) {
            if self.write(unstored).is_err() {
                return;
            }
            self.storing.change(|state| state.writing = false);
        }
    }

    fn write(&self, unstored: Unstored) -> Result<(), GiveUp> {
        let mut parts = vec![unstored.batch];
        while let Some(part) = parts.pop() {
            if let Said::Stored = self.retry.gives(|| self.apply(&part))? {
                continue;
            }
            match part.halves() {
                Ok((first, second)) => parts.extend([second, first]),
                Err(one) => self.put_aside(&one, &unstored.came_as)?,
            }
        }
        self.counters.applied.add(unstored.records);
        self.counters.duplicates.add(unstored.duplicates);
        let applied = self.commits.applied(&unstored.reached, unstored.opened);
        for (partition, next) in applied {
            self.progress.applied_to(partition, next);
        }
        Ok(())
    }

    /// Asks a store that is there; an error where it is away.
    fn apply(&self, batch: &Batch) -> Result<Said, StoreError> {
        match self.store.apply(batch) {
            Ok(()) => Ok(Said::Stored),
            Err(error) if error.is_lasting() => Ok(Said::Refused(error)),
            Err(away) => Err(away),
        }
    }

    /// What was refused alone is stored as an empty message, and put aside; or stored as it is, by a store that
    /// takes nothing before it takes this.
    fn put_aside(&self, refused: &Batch, came_as: &[Arc<Vec<Record>>]) -> Result<(), GiveUp> {
        let Some(message) = refused.messages.first() else {
            return self.retry.gives(|| self.store.apply(refused));
        };
        let empty = Batch {
            messages: vec![message.without_payload()],
            ..Batch::default()
        };
        let reason = self.retry.gives(|| {
            if let Said::Stored = self.apply(refused)? {
                return Ok(None);
            }
            if let Said::Refused(source) = self.apply(&empty)? {
                return Err(StoreError::Failed {
                    doing: "store anything, an empty message neither; look at the store",
                    reason: source.to_string(),
                });
            }
            // Once more: it may have begun to take things just now. Of two rows with one write time the one
            // with the payload stays.
            match self.apply(refused)? {
                Said::Stored => Ok(None),
                Said::Refused(reason) => Ok(Some(reason)),
            }
        })?;
        let Some(reason) = reason else {
            return Ok(());
        };
        let reason = format!("the store refuses it: {reason}");
        let is_its = |record: &&Record| {
            let deliver = &message.deliver;
            (record.key, record.offset.0) == (deliver.conversation_id, message.log_offset)
        };
        let mut records = came_as.iter().flat_map(|records| records.iter());
        match records.find(is_its) {
            Some(record) => self.dead_letters.bury(record, &reason),
            None => Ok(()),
        }
    }
}

/// However it ends, nobody waits for it any more.
impl Drop for StoreWriter {
    fn drop(&mut self) {
        self.storing.change(|state| state.given_up = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstored(offset: u64, records: u64) -> Unstored {
        Unstored {
            reached: BTreeMap::from([(Partition(0), Offset(offset))]),
            records,
            ..Unstored::default()
        }
    }

    #[test]
    fn what_gathers_is_one_batch_in_order_and_bounded() {
        let storing = Storing::default();
        storing.put(unstored(4, 1)).unwrap();
        let one_more = || storing.put(unstored(5, GATHERED_MIN)).unwrap();
        assert_eq!(storing.take(one_more).unwrap().records, 1 + GATHERED_MIN);
        // While that is written:
        storing.put(unstored(6, 1)).unwrap();
        storing.put(unstored(7, RECORDS_MAX)).unwrap();
        assert!(!storing.is_stored_within(Duration::ZERO));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| storing.put(unstored(8, 1)));
            std::thread::park_timeout(Duration::from_millis(20));
            assert!(!waits.is_finished(), "there is no room");
            let gathered = storing.take(|| panic!("they are many")).unwrap();
            assert_eq!(gathered.records, 1 + RECORDS_MAX);
            assert_eq!(gathered.reached[&Partition(0)], Offset(7));
            waits.join().unwrap().unwrap();
        });
        assert_eq!(
            storing.take(|| {}).unwrap().reached[&Partition(0)],
            Offset(8)
        );
        storing.change(|state| state.writing = false);
        storing.wait_stored().unwrap();
        storing.end();
        assert!(storing.take(|| {}).is_none());
    }

    #[test]
    fn nobody_waits_for_a_writer_that_ended() {
        let storing = Storing::default();
        storing.put(unstored(1, RECORDS_MAX)).unwrap();
        std::thread::scope(|scope| {
            let puts = scope.spawn(|| storing.put(unstored(2, 1)));
            let waits = scope.spawn(|| storing.wait_stored());
            storing.change(|state| state.given_up = true);
            puts.join().unwrap().unwrap_err();
            waits.join().unwrap().unwrap_err();
        });
        assert!(!storing.is_stored_within(Duration::ZERO));
    }
}
