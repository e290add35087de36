//! How far each partition is applied, made durable in the store and then committed to the log.
//!
//! Mostly on a thread of its own, so that records are applied meanwhile; on the consumer's where a
//! partition comes or goes. The invariant: a position never passes what is stored, nor what is in the
//! inboxes of its readers, nor an opening that has not settled ([`Openings`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::clock::Clock;
use super::entering::Entering;
use super::inbox::Inboxes;
use super::openings::{OpenedAt, Openings};
use super::permit::Permit;
use crate::log::{Log, Offset, Partition};
use crate::store::{Reached, Store, StoreError};

/// How far a partition is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Below it everything is stored.
    applied: Offset,
    /// Below it everything was counted by now: less than that while it is read again.
    counted: Offset,
    /// As the store has it.
    committed: Reached,
}

/// See the module.
pub(super) struct Commits {
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    permit: Arc<Permit>,
    inboxes: Arc<Inboxes>,
    entering: Arc<Entering>,
    openings: Openings,
    /// The partitions that are consumed here.
    places: Mutex<BTreeMap<Partition, Place>>,
    /// Held while the store writes and offsets are committed: one at a time, and none while partitions
    /// come or go.
    storing: Mutex<()>,
}

impl Commits {
    pub(super) fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        permit: Arc<Permit>,
        inboxes: Arc<Inboxes>,
        entering: Arc<Entering>,
    ) -> Commits {
        Commits {
            store,
            log,
            clock,
            permit,
            inboxes,
            entering,
            openings: Openings::default(),
            places: Mutex::default(),
            storing: Mutex::default(),
        }
    }

    /// Stores and commits every `interval` until whoever holds the other end lets go of it.
    pub(super) fn run(&self, ended: &Receiver<()>, interval: Duration) {
        let mut fails = false;
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            // After an error the next time tries again.
            match self.persist(false) {
                Err(error) if !fails => {
                    tracing::warn!(%error, "how far the store is cannot be written; trying on");
                    fails = true;
                }
                Err(error) => tracing::debug!(%error, "what was applied is not stored yet"),
                Ok(()) => {
                    if std::mem::take(&mut fails) {
                        tracing::info!("how far the store is is written again");
                    }
                }
            }
        }
    }

    pub(super) fn assigned(&self, at: impl Iterator<Item = (Partition, Reached)>) {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = at.map(|(partition, committed)| {
            let place = Place {
                applied: committed.next,
                counted: committed.inbox,
                committed,
            };
            (partition, place)
        });
        self.places().extend(new);
    }

    pub(super) fn dropped(&self, partitions: &[Partition]) {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.places();
        for partition in partitions {
            places.remove(partition);
        }
        self.openings.drop_partitions(partitions);
    }

    /// Whether too many conversations wait to be known to the authority over members.
    pub(super) fn openings_full(&self) -> bool {
        self.openings.is_full()
    }

    /// The store has the records below these offsets, with the openings among them. Gives the offsets of
    /// the partitions that are consumed here.
    pub(super) fn applied(
        &self,
        next: &BTreeMap<Partition, Offset>,
        opened: Vec<OpenedAt>,
    ) -> Vec<(Partition, Offset)> {
        let mut places = self.places();
        let opened = opened.into_iter();
        let opened = opened.filter(|at| places.contains_key(&at.partition));
        self.openings.applied(opened, self.clock.now_ms());
        let ours = next.iter().filter_map(|(&partition, &next)| {
            let place = places.get_mut(&partition)?;
            // What was read again for the inboxes lies below.
            place.applied = place.applied.max(next);
            place.counted = next;
            Some((partition, next))
        });
        ours.collect()
    }

    /// Enters what is due into inboxes, or all of it, and stores how far each partition is. After an error
    /// nothing is committed.
    pub(super) fn persist(&self, all: bool) -> Result<(), StoreError> {
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.places().clone();
        let now_ms = self.clock.now_ms();
        self.store.note_time(now_ms);
        self.openings
            .write(now_ms, |opened| self.store.reopen(opened));
        self.entering.enter(all)?;
        // Whatever was counted below `before` is entered by now, or among these.
        let firsts = [self.inboxes.firsts(), self.openings.firsts()];
        let moved: Vec<(Partition, Reached)> = before
            .iter()
            .filter_map(|(&partition, place)| {
                let next = place.applied;
                let firsts = firsts.iter().filter_map(|of| of.get(&partition));
                let inbox = firsts.copied().fold(next.min(place.counted), Offset::min);
                let reached = Reached { next, inbox };
                (reached != place.committed).then_some((partition, reached))
            })
            .collect();
        // For a start that finds no data directory. Not what was consumed: others may have given that.
        self.store.reach(&moved, &self.permit.ceiling())?;
        let mut places = self.places();
        for (partition, reached) in moved {
            // For those who look at it: a partition begins where the store says.
            self.log.set_watermark(partition, reached.next);
            if let Some(place) = places.get_mut(&partition) {
                place.committed = reached;
            }
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<Partition, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
