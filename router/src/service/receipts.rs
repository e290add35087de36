//! Takes the acks of devices and writes them to the store, once a second: [`Buffered`] with a queue in
//! front of it, a lock around it and a thread behind it.
//!
//! Shards only put acks into the queue, and never wait; where it is full, the ack is dropped. The lock is
//! between this thread and the readers, and is never held while the store is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Select, Sender, TryRecvError, bounded, tick};
use rookery_wire::proto;

use super::config::Config;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::inbox::Inboxes;
use crate::admission::Refusal;
use crate::api::Caller;
use crate::receipts::{Buffered, Device, Entry};
use crate::store::{Receipt, Slot, Store, StoreError};

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
    inboxes: Arc<Inboxes>,
    counters: Arc<Counters>,
}

impl Receipts {
    /// With the queue's other end. The queue ends, and with it the writer, once that is gone.
    pub(super) fn new(
        config: &Config,
        inboxes: Arc<Inboxes>,
        counters: Arc<Counters>,
    ) -> (Sender<Ack>, Arc<Receipts>) {
        let (sender, acks) = bounded(config.receipts_queue_max);
        let receipts = Receipts {
            acks,
            buffered: Mutex::new(Buffered::new(config.receipts_max)),
            inboxes,
            counters,
        };
        (sender, Arc::new(receipts))
    }

    /// What a device has acked until now and the store may lack: conversations and seqs.
    pub(crate) fn of(&self, device: Device) -> Vec<(u64, u64)> {
        self.gathered().of(device).collect()
    }

    /// A device has everything below a slot of its inbox.
    pub(crate) fn advance(&self, device: Device, slot: Slot) {
        self.buffered().advance(device, slot);
    }

    /// The buffer with all that waits in the queue. Acks leave the queue under the lock only: a reader
    /// finds each in the one or in the other.
    fn gathered(&self) -> MutexGuard<'_, Buffered> {
        self.gather().0
    }

    /// The same, and whether more can come.
    fn gather(&self) -> (MutexGuard<'_, Buffered>, bool) {
        let mut buffered = self.buffered();
        loop {
            match self.acks.try_recv() {
                Ok(ack) => self.put(&mut buffered, ack),
                Err(end) => return (buffered, end == TryRecvError::Empty),
            }
        }
    }

    /// Until there is an ack or it is time to write; false where no ack can come any more.
    fn wait(&self, ticks: &Receiver<Instant>) -> bool {
        let mut select = Select::new();
        let acks = select.recv(&self.acks);
        select.recv(ticks);
        if select.ready() != acks {
            return true;
        }
        let (buffered, more) = self.gather();
        drop(buffered);
        if more {
            std::thread::park_timeout(GATHER);
        }
        more
    }

    fn put(&self, buffered: &mut Buffered, (from, ack): Ack) {
        let last_seq = self.inboxes.last_seq(ack.conversation_id);
        if !buffered.ack(from, ack.conversation_id, ack.seq, last_seq) {
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
        while self.receipts.wait(&ticks) {
            if ticks.try_recv().is_ok() {
                self.write_all();
            }
        }
        // What failed before goes first, then what came since.
        self.write_all();
        self.write_all();
    }

    fn write_all(&self) {
        let writing = self.receipts.gathered().begin();
        if writing.is_empty() {
            return;
        }
        let mut all = writing.receipts().peekable();
        while all.peek().is_some() {
            let some: Vec<(Receipt, Entry)> = all.by_ref().take(BATCH_MAX).collect();
            if let Err(error) = self.write(some) {
                match error {
                    StoreError::Away { .. } => tracing::debug!(%error, "receipts wait"),
                    _ => tracing::warn!(%error, "receipts could not be written"),
                }
                return;
            }
        }
        drop(all);
        self.receipts.buffered().end();
    }

    /// Writes those that can be. Done again, it changes nothing.
    fn write(&self, entries: Vec<(Receipt, Entry)>) -> Result<(), StoreError> {
        let is_cursor = |receipt: &Receipt, entry: &Entry| {
            receipt.conversation_id == Receipt::CURSOR && entry.from.is_none()
        };
        let mut ids: Vec<u64> = entries
            .iter()
            .map(|(receipt, _)| receipt.conversation_id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let members = self.store.members_of(&ids)?;
        let uncut = entries.iter().filter(|(_, entry)| !entry.is_cut);
        let mut uncut: Vec<u64> = uncut.map(|(receipt, _)| receipt.conversation_id).collect();
        uncut.sort_unstable();
        uncut.dedup();
        let heads = self.store.heads(&uncut)?;
        // Of one that is cut already it is not asked.
        let head = |id: u64| uncut.binary_search(&id).map_or(0, |at| heads[at].last_seq);
        let mut receipts = Vec::with_capacity(entries.len());
        for (receipt, entry) in entries {
            let at = ids.binary_search(&receipt.conversation_id);
            let at = at.expect("one of those that were looked up");
            let is_member = members[at]
                .as_deref()
                .is_some_and(|members| members.binary_search(&receipt.user_id).is_ok());
            match entry.cut(head(receipt.conversation_id)) {
                seq if is_cursor(&receipt, &entry) => receipts.push(Receipt { seq, ..receipt }),
                _ if !is_member => self.refuse(&entry),
                0 => {}
                seq => receipts.push(Receipt { seq, ..receipt }),
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

#[cfg(test)]
mod tests {
    use crossbeam::channel::never;

    use super::*;

    const FROM: Caller = Caller {
        user_id: 7,
        device_id: 1,
        shard: 0,
        conn: 0,
    };

    #[test]
    fn an_ack_is_in_the_queue_or_in_the_buffer() {
        let (sender, receipts) = Receipts::new(
            &Config::new("unused"),
            Arc::new(Inboxes::new(10)),
            Arc::default(),
        );
        let ack = proto::DeliverAck {
            conversation_id: 3,
            seq: 5,
        };
        // A reader holds the lock while the writer is woken: it may not have taken the ack to wait with it.
        let reading = receipts.buffered();
        let writer = std::thread::spawn({
            let receipts = Arc::clone(&receipts);
            move || while receipts.wait(&never()) {}
        });
        sender.send((FROM, ack)).unwrap();
        std::thread::park_timeout(Duration::from_millis(50));
        assert_eq!(receipts.acks.len(), 1);
        drop(reading);
        assert_eq!(receipts.of((7, 1)), [(3, 5)]);
        drop(sender);
        writer.join().unwrap();
        assert_eq!(receipts.of((7, 1)), [(3, 5)]);
    }
}
