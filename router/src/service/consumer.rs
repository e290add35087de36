//! The consumer of a log that many share: gives each record its seq and fans out. [`Storing`] then
//! writes the store, and [`Commits`] commits how far that is.
//!
//! Runs on its own thread. The invariants: the records of a partition are counted in order, from where the
//! store says that it is; what is known of heads is let go of only when it is stored, whenever partitions
//! move. A delivery need not wait for the store: the record is in the log, whoever reads it again gives it
//! the same seq, and readers wait for the store to have what anybody was acked. A service that is away is
//! waited for, and nothing is skipped but what can never be applied, which is put aside ([`DeadLetters`]).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};

use super::apply::{Applier, ApplyError, Decoded, HEADS_MAX};
use super::clock::Clock;
use super::commits::Commits;
use super::counters::Counters;
use super::dead_letters::DeadLetters;
use super::dispatch::Dispatch;
use super::inbox::Inboxes;
use super::progress::Progress;
use super::retry::{GiveUp, Retry};
use super::storing::{RECORDS_MAX, Storing, Unstored};
use crate::log::{Fed, Feed, Offset, Partition, Record};
use crate::record::DecodeError;
use crate::store::Store;

/// Records counted at once, and rows that they write.
const BATCH_RECORDS_MAX: usize = 1_024;
const BATCH_ROWS_MAX: usize = 8_192;
/// What the log may have read ahead, in batches of its own.
pub(super) const FED_MAX: usize = 8;
/// How long a partition that goes to another process is held for what is not stored yet, and for what
/// says how far that is; together less than the log waits for it (`revoke_wait_ms`, 10 s).
const REVOKED_PATIENCE: Duration = Duration::from_secs(5);
const REVOKED_PAUSES_MAX: u32 = 9;

// What was used stays in memory while as many others are used as these, so no head is let go of that the
// store lacks.
const _: () = assert!(2 * (RECORDS_MAX as usize + BATCH_RECORDS_MAX) < HEADS_MAX);

/// The way from the log's thread to the consumer's.
pub(super) struct Feeder(pub(super) crossbeam::channel::Sender<Fed>);

impl Feed for Feeder {
    fn feed(&mut self, fed: Fed) -> bool {
        self.0.send(fed).is_ok()
    }
}

/// See the module.
pub(super) struct Consumer {
    pub(super) applier: Applier,
    pub(super) store: Arc<dyn Store>,
    pub(super) dead_letters: DeadLetters,
    pub(super) storing: Arc<Storing>,
    pub(super) commits: Arc<Commits>,
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) clock: Arc<dyn Clock>,
    /// Partitions with a record of a newer program: what comes of them is left in the log.
    pub(super) held: HashSet<Partition>,
    pub(super) fed: Receiver<Fed>,
    pub(super) progress: Arc<Progress>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) counters: Arc<Counters>,
    pub(super) retry: Retry,
}

impl Consumer {
    /// Works until the log feeds nothing any more.
    pub(super) fn run(mut self) {
        // The error says that the router closes and a service is away: what was not committed will be
        // consumed again.
        if self.consume().is_err() {
            tracing::warn!("closed before everything was stored; the rest is consumed again");
            // The log may be waiting for what it hands over next to be let go of.
            self.fed.iter().for_each(drop);
        }
    }

    fn consume(&mut self) -> Result<(), GiveUp> {
        let mut held = None;
        while let Some(next) = held.take().or_else(|| self.fed.recv().ok()) {
            match next {
                Fed::Records(mut records) => {
                    while records.len() < BATCH_RECORDS_MAX && held.is_none() {
                        match self.fed.try_recv() {
                            Ok(Fed::Records(more)) => records.extend(more),
                            Ok(other) => held = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.count(records)?;
                }
                Fed::Assigned { partitions, begin } => self.assigned(&partitions, &begin)?,
                Fed::Revoked { partitions, done } => {
                    // In vain where the store is away for long: then another one does it again.
                    let hurry = self.progress.hurry();
                    let stored = self.storing.is_stored_within(REVOKED_PATIENCE)
                        && self.persist(REVOKED_PAUSES_MAX, true).is_ok();
                    drop(hurry);
                    self.drop_partitions(&partitions);
                    drop(done);
                    if !stored {
                        self.settle()?;
                    }
                    self.forget();
                }
                Fed::Lost(partitions) => {
                    self.drop_partitions(&partitions);
                    self.settle()?;
                    self.forget();
                }
            }
        }
        self.settle()
    }

    fn assigned(
        &mut self,
        partitions: &[Partition],
        begin: &Sender<Vec<(Partition, Offset)>>,
    ) -> Result<(), GiveUp> {
        self.settle()?;
        self.forget();
        let retry = self.retry.clone();
        let reached = retry.gives(|| self.store.reached(partitions))?;
        for (&partition, reached) in partitions.iter().zip(&reached) {
            self.applier.begin(partition, reached.inbox, reached.next);
        }
        let at = partitions.iter().copied().zip(reached.iter().copied());
        self.commits.assigned(at);
        self.progress.consumes(partitions, true);
        tracing::info!(partitions = partitions.len(), "consuming more of the log");
        let places = partitions.iter().zip(&reached);
        let places = places.map(|(&partition, reached)| (partition, reached.inbox));
        // The log may have taken them away by now; then it says so next.
        let _ = begin.send(places.collect());
        Ok(())
    }

    fn drop_partitions(&mut self, partitions: &[Partition]) {
        self.held.retain(|held| !partitions.contains(held));
        self.counters.held_partitions.set(self.held.len() as u64);
        self.commits.dropped(partitions);
        self.inboxes.drop_partitions(partitions);
        self.progress.consumes(partitions, false);
        tracing::info!(partitions = partitions.len(), "consuming less of the log");
    }

    /// Waits until all that was counted is stored, and how far that is.
    fn settle(&self) -> Result<(), GiveUp> {
        let _hurry = self.progress.hurry();
        self.storing.wait_stored()?;
        self.persist(u32::MAX, false)
    }

    /// Only when all is [settled](Self::settle): heads are ahead of the store until then.
    fn forget(&mut self) {
        self.applier.forget();
    }

    fn count(&mut self, records: Vec<Record>) -> Result<(), GiveUp> {
        self.retry
            .until(u32::MAX, || match self.inboxes.is_full() {
                true => Err("too much waits to be entered into inboxes"),
                false if self.commits.openings_full() => {
                    Err("too many openings wait for PostgreSQL")
                }
                false => Ok(()),
            })?;
        let mut decoded = Vec::with_capacity(records.len());
        let mut reached = BTreeMap::new();
        let mut rows = 0;
        let records = Arc::new(records);
        for record in &*records {
            if self.held.contains(&record.partition) {
                continue;
            }
            match Decoded::new(record) {
                Ok(it) => {
                    rows += it.rows();
                    decoded.push(it);
                }
                Err(ApplyError::Record {
                    source: source @ (DecodeError::Version(_) | DecodeError::Kind(_)),
                    ..
                }) => {
                    self.hold(record, &source);
                    continue;
                }
                Err(poison) => self.dead_letters.bury(record, &poison.to_string())?,
            }
            reached.insert(record.partition, record.offset.plus(1));
            if rows >= BATCH_ROWS_MAX {
                self.take(&records, &decoded, std::mem::take(&mut reached))?;
                decoded.clear();
                rows = 0;
            }
        }
        self.take(&records, &decoded, reached)
    }

    /// Written by a newer program: skipping it would lose what it says.
    fn hold(&mut self, record: &Record, reason: &DecodeError) {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(%partition, %offset, %reason, "the partition waits for a newer program here");
        self.held.insert(partition);
        self.counters.held_partitions.set(self.held.len() as u64);
    }

    /// Counts, tells, and hands over what is to be written.
    fn take(
        &mut self,
        records: &Arc<Vec<Record>>,
        decoded: &[Decoded<'_>],
        reached: BTreeMap<Partition, Offset>,
    ) -> Result<(), GiveUp> {
        if reached.is_empty() {
            return Ok(());
        }
        let (retry, dispatch) = (self.retry.clone(), Arc::clone(&self.dispatch));
        let now_ms = self.clock.now_ms();
        let mut taking = retry.gives(|| self.applier.prepare(decoded, Some(&dispatch), now_ms))?;
        for it in decoded {
            if let Err(poison) = self.applier.take_one(it, &mut taking) {
                self.dead_letters.bury(it.record, &poison.to_string())?;
            }
        }
        let (mut batch, applied) = (taking.batch, taking.applied);
        batch.position = self.applier.position;
        for (&partition, &next) in &reached {
            self.progress.told_to(partition, next);
        }
        applied.tell(&self.dispatch, &self.counters, &*self.clock);
        self.storing.put(Unstored {
            batch,
            opened: applied.opened,
            came_as: vec![Arc::clone(records)],
            reached,
            records: applied.records,
            bytes: applied.bytes,
            duplicates: applied.duplicates,
        })?;
        self.applier.turn();
        Ok(())
    }

    /// Commits what is stored, trying again so often; with all that gathers for inboxes, where asked.
    fn persist(&self, pauses_max: u32, all: bool) -> Result<(), GiveUp> {
        self.retry.until(pauses_max, || self.commits.persist(all))
    }
}

/// However it ends, nobody waits for more from it.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.storing.end();
        // For good.
        std::mem::forget(self.progress.hurry());
    }
}
