//! The consumer of a log that many share: gives each record its seq, fans out, writes the store, and
//! then commits how far it is.
//!
//! Runs on its own thread. The invariants: the records of a partition are applied in order; offsets are
//! committed after the store has what is below them and the heads that count it; what is known of heads
//! is let go of only when it is stored, whenever partitions move. A service that is away is waited for,
//! and nothing is skipped but what can never be applied, which is put aside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, tick};

use super::apply::{Applied, Applier, ApplyError};
use super::config::Config;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::progress::Progress;
use crate::log::{Fed, Feed, Log, Offset, Partition, Record};
use crate::record::DecodeError;
use crate::store::{Batch, Store};

/// Records written at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// What the log may have read ahead, in batches of its own.
pub(super) const FED_MAX: usize = 8;
/// A service that is away is tried again after so long at first, and at last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a partition that goes to another process is held for what is not stored yet.
const REVOKED_PAUSES_MAX: u32 = 12;

/// The way from the log's thread to the consumer's.
pub(super) struct Feeder(pub(super) crossbeam::channel::Sender<Fed>);

impl Feed for Feeder {
    fn feed(&mut self, fed: Fed) -> bool {
        self.0.send(fed).is_ok()
    }
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    applied: Option<Offset>,
    committed: Option<Offset>,
}

/// See the module.
pub(super) struct Consumer {
    pub(super) applier: Applier,
    pub(super) store: Arc<dyn Store>,
    pub(super) log: Arc<dyn Log>,
    pub(super) fed: Receiver<Fed>,
    pub(super) progress: Arc<Progress>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) counters: Arc<Counters>,
    /// The router closes and will not wait any more.
    pub(super) closing: Arc<AtomicBool>,
    pub(super) config: Config,
    pub(super) reached: Partitions,
}

/// The partitions that are consumed here.
#[derive(Debug, Default)]
pub(super) struct Partitions(BTreeMap<Partition, Reached>);

/// The router closes, and what is in hand stays for the next one.
struct GiveUp;

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
        let interval = self.config.persist_interval;
        let ticks = tick(interval);
        let mut held = None;
        loop {
            let next = match held.take() {
                Some(fed) => Ok(fed),
                None => self.fed.recv_timeout(interval),
            };
            match next {
                Ok(Fed::Records(mut records)) => {
                    while records.len() < BATCH_RECORDS_MAX && held.is_none() {
                        match self.fed.try_recv() {
                            Ok(Fed::Records(more)) => records.extend(more),
                            Ok(other) => held = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.apply(&records)?;
                }
                Ok(Fed::Assigned(partitions)) => self.assigned(&partitions)?,
                Ok(Fed::Revoked { partitions, done }) => {
                    // In vain where the store is away for long: then another one does it again.
                    let stored = self.persist(REVOKED_PAUSES_MAX);
                    self.drop_partitions(&partitions);
                    drop(done);
                    if stored.is_err() {
                        self.persist(u32::MAX)?;
                    }
                    self.forget();
                }
                Ok(Fed::Lost(partitions)) => {
                    self.drop_partitions(&partitions);
                    self.persist(u32::MAX)?;
                    self.forget();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.persist(u32::MAX),
            }
            if ticks.try_recv().is_ok() {
                // Once: the next tick tries again, and meanwhile records are applied.
                drop(self.persist(0));
            }
        }
    }

    fn assigned(&mut self, partitions: &[Partition]) -> Result<(), GiveUp> {
        self.persist(u32::MAX)?;
        self.forget();
        for partition in partitions {
            self.reached.0.insert(*partition, Reached::default());
        }
        self.progress.consumes(partitions, true);
        tracing::info!(partitions = partitions.len(), "consuming more of the log");
        Ok(())
    }

    fn drop_partitions(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.reached.0.remove(partition);
        }
        self.progress.consumes(partitions, false);
        tracing::info!(partitions = partitions.len(), "consuming less of the log");
    }

    /// Only after a [`persist`](Self::persist) that succeeded: heads are ahead of the store until then.
    fn forget(&mut self) {
        self.applier.forget();
        self.store.forget();
    }

    fn apply(&mut self, records: &[Record]) -> Result<(), GiveUp> {
        let (mut batch, mut applied) = (Batch::default(), Applied::default());
        for record in records {
            self.take(record, &mut batch, &mut applied)?;
        }
        batch.position = self.applier.position;
        applied.tell(&self.dispatch, &self.counters);
        let store = Arc::clone(&self.store);
        self.until(u32::MAX, || store.apply(&batch))?;
        self.counters.applied.add(applied.records);
        self.counters.duplicates.add(applied.duplicates);
        for record in records {
            let Some(reached) = self.reached.0.get_mut(&record.partition) else {
                continue;
            };
            reached.applied = Some(record.offset.plus(1));
        }
        let partitions: std::collections::BTreeSet<Partition> =
            records.iter().map(|record| record.partition).collect();
        for partition in partitions {
            let reached = self.reached.0.get(&partition);
            if let Some(next) = reached.and_then(|reached| reached.applied) {
                self.progress.applied_to(partition, next);
            }
        }
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
        let mut patience = Patience::new(u32::MAX);
        loop {
            let dispatch = Some(&*self.dispatch);
            let error = match self.applier.take_one(record, dispatch, batch, applied) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error {
                ApplyError::Store(error) => patience.wait(&error, self)?,
                // Written by a newer program: skipping it would lose a message.
                ApplyError::Record {
                    source: DecodeError::Version(_),
                    ..
                } => patience.wait(&error, self)?,
                poison => return self.bury(record, &poison.to_string()),
            }
        }
    }

    fn bury(&self, record: &Record, reason: &str) -> Result<(), GiveUp> {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(%partition, %offset, reason, "a record cannot be applied and is put aside");
        let log = Arc::clone(&self.log);
        self.until(u32::MAX, || log.bury(record, reason))?;
        self.counters.buried.add(1);
        Ok(())
    }

    /// Stores what counts the messages, and commits how far each partition is.
    fn persist(&mut self, pauses_max: u32) -> Result<(), GiveUp> {
        let store = Arc::clone(&self.store);
        store.note_time(self.config.clock.now_ms());
        self.until(pauses_max, || store.persist())?;
        for (partition, reached) in &mut self.reached.0 {
            if let Some(applied) = reached.applied
                && reached.committed != reached.applied
            {
                self.log.set_watermark(*partition, applied);
                reached.committed = reached.applied;
            }
        }
        Ok(())
    }

    /// Does it until it succeeds, pausing at most so often.
    fn until<E: std::fmt::Display>(
        &self,
        pauses_max: u32,
        attempt: impl Fn() -> Result<(), E>,
    ) -> Result<(), GiveUp> {
        let mut patience = Patience::new(pauses_max);
        while let Err(error) = attempt() {
            patience.wait(&error, self)?;
        }
        if patience.pauses > 0 {
            tracing::info!(tries = patience.pauses, "it is back");
        }
        Ok(())
    }
}

/// Pauses between tries.
struct Patience {
    pauses: u32,
    pauses_max: u32,
    pause: Duration,
}

impl Patience {
    fn new(pauses_max: u32) -> Patience {
        Patience {
            pauses: 0,
            pauses_max,
            pause: PAUSE_MIN,
        }
    }

    fn wait(&mut self, error: &dyn std::fmt::Display, of: &Consumer) -> Result<(), GiveUp> {
        if self.pauses == 0 {
            tracing::warn!(%error, "the consumer waits; what was acked lies in the log");
        }
        if self.pauses >= self.pauses_max || of.closing.load(Ordering::Relaxed) {
            return Err(GiveUp);
        }
        self.pauses += 1;
        of.counters.store_waits.add(1);
        std::thread::park_timeout(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
