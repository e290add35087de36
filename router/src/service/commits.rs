//! How far each partition is applied, made durable in the store and then committed to the log.
//!
//! Mostly on a thread of its own, so that records are applied meanwhile; on the consumer's where a
//! partition comes or goes. The invariant: what is committed was applied before the store began to write
//! what counts it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::clock::Clock;
use super::stamps::Given;
use crate::log::{Log, Offset, Partition};
use crate::store::{Batch, Store, StoreError};

/// How far a partition is.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    applied: Option<Offset>,
    committed: Option<Offset>,
}

/// See the module.
pub(super) struct Commits {
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    given: Arc<Given>,
    /// The partitions that are consumed here.
    reached: Mutex<BTreeMap<Partition, Reached>>,
    /// Held while the store writes and offsets are committed: one at a time, and none while partitions
    /// come or go.
    storing: Mutex<()>,
}

impl Commits {
    pub(super) fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        given: Arc<Given>,
    ) -> Commits {
        Commits {
            store,
            log,
            clock,
            given,
            reached: Mutex::default(),
            storing: Mutex::default(),
        }
    }

    /// Stores and commits every `interval` until whoever holds the other end lets go of it.
    pub(super) fn run(&self, ended: &Receiver<()>, interval: Duration) {
        let mut fails = false;
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            // After an error the next time tries again.
            match self.persist() {
                Err(error) if !fails => {
                    tracing::warn!(%error, "heads are not stored and offsets not committed; trying on");
                    fails = true;
                }
                Err(error) => tracing::debug!(%error, "what was applied is not stored yet"),
                Ok(()) => {
                    if std::mem::take(&mut fails) {
                        tracing::info!("heads are stored and offsets committed again");
                    }
                }
            }
        }
    }

    pub(super) fn assigned(&self, partitions: &[Partition]) {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = partitions.iter().map(|id| (*id, Reached::default()));
        self.reached().extend(new);
    }

    pub(super) fn dropped(&self, partitions: &[Partition]) {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reached = self.reached();
        for partition in partitions {
            reached.remove(partition);
        }
    }

    /// The store has the records below these offsets. Gives those of the partitions that are consumed
    /// here.
    pub(super) fn applied(&self, next: &BTreeMap<Partition, Offset>) -> Vec<(Partition, Offset)> {
        let mut reached = self.reached();
        let ours = next.iter().filter_map(|(&partition, &next)| {
            reached.get_mut(&partition)?.applied = Some(next);
            Some((partition, next))
        });
        ours.collect()
    }

    /// Stores what counts the messages, and commits how far each partition is. After an error nothing is
    /// committed.
    pub(super) fn persist(&self) -> Result<(), StoreError> {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.reached().clone();
        self.store.note_time(self.clock.now_ms());
        // Others may consume what was given here, so it does not come with what is applied.
        self.store.apply(&Batch {
            position: self.given.position(),
            ..Batch::default()
        })?;
        self.store.persist()?;
        let mut reached = self.reached();
        for (partition, then) in before {
            let Some(applied) = then.applied.filter(|_| then.committed != then.applied) else {
                continue;
            };
            self.log.set_watermark(partition, applied);
            if let Some(now) = reached.get_mut(&partition) {
                now.committed = then.applied;
            }
        }
        Ok(())
    }

    fn reached(&self) -> MutexGuard<'_, BTreeMap<Partition, Reached>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
