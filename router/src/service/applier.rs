//! The one consumer of the embedded log: gives each record its seq, fans out, then writes the store.
//!
//! Runs on its own thread. The invariant: records are applied in log order, a batch at a time, and
//! the watermark never passes what the store has synced. A delivery need not wait for the store: the
//! record is in the log, a replay gives it the same seq, and readers wait for the store to have what
//! anybody was told of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, tick};

use super::apply::{self, Applied, Applier, ApplyError, Decoded};
use super::channel::Receiver;
use super::config::Config;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::entering::Entering;
use super::inbox::Inboxes;
use super::progress::Progress;
use super::sink::Work;
use crate::admission::Pending;
use crate::api::Event;
use crate::log::{Log, Offset, Partition, Record};
use crate::store::{Position, Reached, Store, StoreError};

/// Records written at once: what fits a few ms, so that fan-out is not kept waiting.
const BATCH_RECORDS_MAX: usize = 1_024;
/// Their rows: an opening has one for each member. What comes last may go beyond.
const BATCH_ROWS_MAX: usize = 2_048;

/// Between two looks whether there is room in what gathers for inboxes.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Bytes of write buffers that make a rest worth its files.
const REST_BYTES_MIN: u64 = 2 << 20;

/// What the rows of a record take there besides its body: four keys, four skip list nodes.
const ROWS_BYTES: u64 = 512;

/// The applier's thread.
pub(crate) struct ApplierThread {
    pub(crate) applier: Applier,
    pub(crate) store: Arc<dyn Store>,
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) entering: Arc<Entering>,
    /// Wakes the thread that enters.
    pub(super) wake: Sender<()>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) work: Receiver<Work>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) store_failed: Arc<AtomicBool>,
    pub(crate) config: Config,
    /// About what the store holds in memory since it last rested.
    pub(crate) buffered_bytes: u64,
}

/// What was taken off the queue.
#[derive(Default)]
struct Taken {
    records: Vec<Record>,
    failed: u64,
    failed_bytes: usize,
    late: Vec<(u16, Event)>,
    finish: bool,
}

impl Taken {
    fn add(&mut self, work: Work) {
        match work {
            Work::Finish => self.finish = true,
            Work::Committed(mut committed) => {
                self.records.append(&mut committed.records);
                self.failed += committed.failed;
                self.failed_bytes += committed.failed_bytes;
                self.late.append(&mut committed.late);
            }
        }
    }
}

impl ApplierThread {
    /// Works until it is told to finish.
    pub(crate) fn run(mut self) {
        let ticks = tick(self.config.persist_interval);
        let mut synced = (self.applier.position, None);
        loop {
            let mut taken = Taken::default();
            match self.work.recv_timeout(self.config.persist_interval) {
                Ok(work) => taken.add(work),
                Err(RecvTimeoutError::Timeout) => self.rest(&synced),
                Err(RecvTimeoutError::Disconnected) => taken.finish = true,
            }
            while taken.records.len() < BATCH_RECORDS_MAX && !taken.finish {
                let Ok(work) = self.work.try_recv() else {
                    break;
                };
                taken.add(work);
            }
            let finish = taken.finish;
            self.handle(taken);
            if ticks.try_recv().is_ok() || finish {
                self.sync(&mut synced, finish);
            }
            if finish {
                return;
            }
        }
    }

    /// Nothing came for a whole interval: after a spell of traffic the store's write buffers are
    /// given back. Small ones are not worth a file each.
    fn rest(&mut self, (synced, waiting): &(Position, Option<Offset>)) {
        let all_synced = *synced == self.applier.position && waiting.is_none();
        if !all_synced || self.buffered_bytes < REST_BYTES_MIN {
            return;
        }
        self.buffered_bytes = 0;
        if let Err(error) = self.store.rest() {
            // What was applied is durable; the next write meets the same error and reports it.
            tracing::warn!(%error, "the store's write buffers were not given back");
        }
    }

    fn handle(&mut self, taken: Taken) {
        for (shard, event) in taken.late {
            self.dispatch.post(shard, event);
        }
        let mut rest = &taken.records[..];
        if !self.store_failed.load(Ordering::Relaxed) {
            self.make_room();
            if let Err(error) = self.apply(&mut rest) {
                tracing::error!(%error, "the store failed; start again to apply what was acked");
                self.store_failed.store(true, Ordering::Relaxed);
            }
        }
        self.let_go(rest);
        // Last: whoever counts what is resolved is not to take these for records before them.
        self.progress.resolve(taken.failed, taken.failed_bytes);
    }

    /// Applies records, and leaves in `rest` what an error is about, and what comes after it.
    fn apply(&mut self, rest: &mut &[Record]) -> Result<(), ApplyError> {
        let records = *rest;
        let decoded = apply::decode(records)?;
        let mut more = &decoded[..];
        while !more.is_empty() {
            let mut rows = 0;
            let fits = |it: &&Decoded<'_>| {
                let before = rows;
                rows += it.rows();
                before < BATCH_ROWS_MAX
            };
            let count = more.iter().take_while(fits).count();
            let (part, after) = more.split_at(count);
            let applied = self.tell_and_write(part)?;
            self.applied(applied);
            (more, *rest) = (after, &rest[count..]);
        }
        Ok(())
    }

    /// Waits while too much gathers for inboxes, whoever fills them.
    fn make_room(&self) {
        if self.inboxes.is_high() {
            // Where there is no room it is woken already.
            let _ = self.wake.try_send(());
        }
        while self.inboxes.is_full() && !self.store_failed.load(Ordering::Relaxed) {
            std::thread::park_timeout(FULL_PAUSE);
        }
    }

    fn tell_and_write(&mut self, records: &[Decoded<'_>]) -> Result<Applied, ApplyError> {
        let now_ms = self.config.clock.now_ms();
        let (batch, applied) = self.applier.take(records, Some(&self.dispatch), now_ms)?;
        applied.tell(&self.dispatch, &self.counters, &*self.config.clock);
        self.store.apply(&batch)?;
        Ok(applied)
    }

    fn applied(&mut self, applied: Applied) {
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for key in applied.keys {
                pending.applied(key);
            }
        }
        self.progress.resolve(applied.records, applied.bytes);
        self.counters.applied.add(applied.records);
        self.buffered_bytes += applied.bytes as u64 + ROWS_BYTES * applied.records;
        self.applier.turn();
    }

    /// The store takes nothing more: the records stay in the log for the next start. Those who
    /// wait for them go on, and are refused by `store_failed`.
    fn let_go(&self, records: &[Record]) {
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        self.progress.resolve(records.len() as u64, bytes);
    }

    /// Syncs the store where something has changed since it was last so; where asked, once `all` that gathers
    /// for inboxes is entered.
    fn sync(&mut self, synced: &mut (Position, Option<Offset>), all: bool) {
        if self.store_failed.load(Ordering::Relaxed) {
            return;
        }
        match self.try_sync(*synced, all) {
            Ok(now) => *synced = now,
            Err(error) => {
                tracing::error!(%error, "the store could not be synced");
                self.store_failed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Gives the position, and the first record that is not entered into inboxes.
    fn try_sync(
        &self,
        synced: (Position, Option<Offset>),
        all: bool,
    ) -> Result<(Position, Option<Offset>), StoreError> {
        self.store.note_time(self.config.clock.now_ms());
        if all {
            self.entering.enter(true)?;
        }
        let waiting = self.inboxes.firsts().get(&Partition::ONLY).copied();
        let now = (self.applier.position, waiting);
        if now != synced {
            let next = Offset(now.0.next_offset);
            let inbox = waiting.unwrap_or(next);
            let reached = Reached { next, inbox };
            self.store.reach(&[(Partition::ONLY, reached)], &now.0)?;
            self.log.set_watermark(Partition::ONLY, inbox);
        }
        Ok(now)
    }
}
