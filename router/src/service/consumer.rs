//! The consumer of a log that many share: gives each record its seq and fans out. [`Storing`] then
//! writes the store, and [`Commits`] commits how far that is.
//!
//! Runs on its own thread. The invariants: the records of a partition are counted in order; offsets are
//! committed after the store has what is below them and the heads that count it; what is known of heads
//! is let go of only when it is stored, whenever partitions move. A delivery need not wait for the store:
//! the record is in the log, whoever reads it again gives it the same seq, and readers wait for the store
//! to have what anybody was acked. A service that is away is waited for, and nothing is skipped but what
//! can never be applied, which is put aside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;

use super::apply::{Applied, Applier, ApplyError, HEADS_MAX, RECENT_MAX};
use super::commits::Commits;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::progress::Progress;
use super::retry::{GiveUp, Retry};
use super::storing::{RECORDS_MAX, Storing, Unstored};
use crate::log::{Fed, Feed, Log, Offset, Partition, Record};
use crate::record::DecodeError;
use crate::store::{Batch, Store};

/// Records counted at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// What the log may have read ahead, in batches of its own.
pub(super) const FED_MAX: usize = 8;
/// How long a partition that goes to another process is held for what is not stored yet, and for what
/// counts it; together less than the log waits for it (`revoke_wait_ms`, 10 s).
const REVOKED_PATIENCE: Duration = Duration::from_secs(5);
const REVOKED_PAUSES_MAX: u32 = 9;

// What was used stays in memory while as many others are used as these, so no head and no message is let
// go of that the store lacks.
const _: () = assert!(2 * (RECORDS_MAX as usize + BATCH_RECORDS_MAX) < HEADS_MAX);
const _: () = assert!(HEADS_MAX <= RECENT_MAX);

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
    pub(super) log: Arc<dyn Log>,
    pub(super) storing: Arc<Storing>,
    pub(super) commits: Arc<Commits>,
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
                    self.count(&records)?;
                }
                Fed::Assigned { partitions, begin } => {
                    self.assigned(&partitions)?;
                    // All of it again; what was counted before is told by the store. Whoever hears
                    // nothing of it has lost the partitions meanwhile.
                    drop(begin.send(partitions.into_iter().map(|it| (it, Offset(0))).collect()));
                }
                Fed::Revoked { partitions, done } => {
                    // In vain where the store is away for long: then another one does it again.
                    let stored = self.storing.is_stored_within(REVOKED_PATIENCE)
                        && self.persist(REVOKED_PAUSES_MAX).is_ok();
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

    fn assigned(&mut self, partitions: &[Partition]) -> Result<(), GiveUp> {
        self.settle()?;
        self.forget();
        self.commits.assigned(partitions);
        self.progress.consumes(partitions, true);
        tracing::info!(partitions = partitions.len(), "consuming more of the log");
        Ok(())
    }

    fn drop_partitions(&self, partitions: &[Partition]) {
        self.commits.dropped(partitions);
        self.progress.consumes(partitions, false);
        tracing::info!(partitions = partitions.len(), "consuming less of the log");
    }

    /// Waits until all that was counted is stored, with what counts it, and is committed.
    fn settle(&self) -> Result<(), GiveUp> {
        self.storing.wait_stored()?;
        self.persist(u32::MAX)
    }

    /// Only when all is [settled](Self::settle): heads are ahead of the store until then.
    fn forget(&mut self) {
        self.applier.forget();
        self.store.forget();
    }

    fn count(&mut self, records: &[Record]) -> Result<(), GiveUp> {
        let (mut batch, mut applied) = (Batch::default(), Applied::default());
        for record in records {
            self.take(record, &mut batch, &mut applied)?;
        }
        batch.position = self.applier.position;
        applied.tell(&self.dispatch, &self.counters);
        let next = |record: &Record| (record.partition, record.offset.plus(1));
        let reached: BTreeMap<_, _> = records.iter().map(next).collect();
        self.storing.put(Unstored {
            batch,
            reached,
            records: applied.records,
            bytes: applied.bytes,
            duplicates: applied.duplicates,
        })?;
        self.applier.turn();
        Ok(())
    }

    /// Counts one record, however long that takes.
    fn take(
        &mut self,
        record: &Record,
        batch: &mut Batch,
        applied: &mut Applied,
    ) -> Result<(), GiveUp> {
        let retry = self.retry.clone();
        let mut patience = retry.patience(u32::MAX);
        loop {
            let dispatch = Some(&*self.dispatch);
            let error = match self.applier.take_one(record, dispatch, batch, applied) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error {
                ApplyError::Store(error) => patience.wait(&error)?,
                // Written by a newer program: skipping it would lose a message.
                ApplyError::Record {
                    source: DecodeError::Version(_) | DecodeError::Kind(_),
                    ..
                } => patience.wait(&error)?,
                poison => return self.bury(record, &poison.to_string()),
            }
        }
    }

    fn bury(&self, record: &Record, reason: &str) -> Result<(), GiveUp> {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(%partition, %offset, reason, "a record cannot be applied and is put aside");
        let log = Arc::clone(&self.log);
        self.retry.until(u32::MAX, || log.bury(record, reason))?;
        self.counters.buried.add(1);
        Ok(())
    }

    /// Commits what is stored, with what counts it, trying again so often.
    fn persist(&self, pauses_max: u32) -> Result<(), GiveUp> {
        self.retry.until(pauses_max, || self.commits.persist())
    }
}

/// However it ends, nobody waits for more from it.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.storing.end();
    }
}
