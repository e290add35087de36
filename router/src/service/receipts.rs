//! Takes the acks of devices and writes them to the store, once a second: [`Buffered`] with a queue in
//! front of it, a lock around it and a thread behind it.
//!
//! Shards only put acks into the queue, and never wait; where it is full, the ack is dropped. The lock is
//! between this thread and the readers, and is never held while the store is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, select, tick};
use rookery_wire::proto;

use super::config::Config;
use super::counters::Counters;
use super::dispatch::Dispatch;
use crate::admission::Refusal;
use crate::api::Caller;
use crate::receipts::{Buffered, Device, Entry, Judged};
use crate::store::{Receipt, Store, StoreError};

/// Receipts that are written together.
const BATCH_MAX: usize = 1_000;
/// After an ack this thread sleeps, so that shards with many acks need not wake it for each.
const GATHER: Duration = Duration::from_millis(5);

/// An ack as it waits in the queue.
pub(crate) type Ack = (Caller, proto::DeliverAck);

/// What was acked and is not stored, for all who need it.
pub(crate) struct Receipts {
    acks: Receiver<Ack>,
    buffered: Mutex<Buffered>,
    counters: Arc<Counters>,
}

impl Receipts {
    /// With the queue's other end. The queue ends, and with it the writer, once that is gone.
    pub(crate) fn new(config: &Config, counters: Arc<Counters>) -> (Sender<Ack>, Arc<Receipts>) {
        let (sender, acks) = bounded(config.receipts_queue_max);
        let receipts = Receipts {
            acks,
            buffered: Mutex::new(Buffered::new(config.receipts_max)),
            counters,
        };
        (sender, Arc::new(receipts))
    }

    /// What a device has acked until now and the store may lack: conversations and seqs.
    pub(crate) fn of(&self, device: Device) -> Vec<(u64, u64)> {
        self.gathered().of(device).collect()
    }

    /// Stored receipts that are to live on.
    pub(crate) fn refresh(&self, device: Device, receipts: &[(u64, u64)]) {
        let mut buffered = self.buffered();
        for &(conversation_id, seq) in receipts {
            buffered.refresh(device, conversation_id, seq);
        }
    }

    /// The buffer with all that waits in the queue.
    fn gathered(&self) -> MutexGuard<'_, Buffered> {
        let mut buffered = self.buffered();
        while let Ok(ack) = self.acks.try_recv() {
            self.put(&mut buffered, ack);
        }
        buffered
    }

    fn put(&self, buffered: &mut Buffered, (from, ack): Ack) {
        if !buffered.ack(from, ack.conversation_id, ack.seq) {
            self.counters.receipts_dropped.add(1);
        }
    }

    fn buffered(&self) -> MutexGuard<'_, Buffered> {
        self.buffered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
pub(crate) struct ReceiptsWriter {
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) config: Config,
}

impl ReceiptsWriter {
    /// Works until nobody can ack anything more; then writes what there is.
    pub(crate) fn run(self) {
        let ticks = tick(self.config.receipts_interval);
        loop {
            select! {
                recv(self.receipts.acks) -> ack => match ack {
                    Ok(ack) => {
                        let receipts = &self.receipts;
                        receipts.put(&mut receipts.buffered(), ack);
                        drop(receipts.gathered());
                        std::thread::park_timeout(GATHER);
                    }
                    Err(_) => {
                        // What failed before goes first, then what came since.
                        self.write_all();
                        return self.write_all();
                    }
                },
                recv(ticks) -> _ => self.write_all(),
            }
        }
    }

    fn write_all(&self) {
        let writing = self.receipts.gathered().begin();
        if writing.is_empty() {
            return;
        }
        let mut put_off = Vec::new();
        let mut all = writing.receipts().peekable();
        while all.peek().is_some() {
            let some: Vec<(Receipt, Entry)> = all.by_ref().take(BATCH_MAX).collect();
            if let Err(error) = self.write(some, &mut put_off) {
                match error {
                    StoreError::Away { .. } => tracing::debug!(%error, "receipts wait"),
                    _ => tracing::warn!(%error, "receipts could not be written"),
                }
                return;
            }
        }
        drop(all);
        self.receipts.buffered().end(put_off);
    }

    /// Writes those that can be. Done again, it changes nothing.
    fn write(
        &self,
        entries: Vec<(Receipt, Entry)>,
        put_off: &mut Vec<(Receipt, Entry)>,
    ) -> Result<(), StoreError> {
        let mut ids: Vec<u64> = entries
            .iter()
            .map(|(receipt, _)| receipt.conversation_id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let members = self.store.members_of(&ids)?;
        let heads = self.store.heads(&ids)?;
        let mut receipts = Vec::with_capacity(entries.len());
        for (receipt, entry) in entries {
            let at = ids.binary_search(&receipt.conversation_id);
            let at = at.expect("one of those that were looked up");
            let is_member = members[at]
                .as_deref()
                .is_some_and(|members| members.binary_search(&receipt.user_id).is_ok());
            match entry.judge(heads[at].last_seq) {
                _ if !is_member => self.refuse(&entry),
                Judged::Write(seq) => receipts.push(Receipt { seq, ..receipt }),
                Judged::PutOff => put_off.push((receipt, entry)),
                Judged::Drop => {}
            }
        }
        self.store.receive(&receipts, self.config.clock.now_ms())?;
        self.counters.receipts.add(receipts.len() as u64);
        Ok(())
    }

    fn refuse(&self, entry: &Entry) {
        if let Some(from) = entry.from {
            self.counters.refused.add(1);
            self.dispatch
                .answer(from, vec![Refusal::NOT_MEMBER.frame(0)]);
        }
    }
}
