//! The one consumer of the log: gives each record its seq, fans out, then writes the store.
//!
//! Runs on its own thread. The invariant: records are applied in log order, a batch at a time, and
//! the watermark never passes what the store has synced. A delivery need not wait for the store: the
//! record is in the log, a replay gives it the same seq, and readers wait for the store to have what
//! anybody was told of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{RecvTimeoutError, tick};
use rookery_wire::proto;

use super::audience::{Audience, Audiences};
use super::channel::Receiver;
use super::config::Config;
use super::counters::Counters;
use super::outbox::Outbox;
use super::progress::Progress;
use super::sink::Work;
use crate::admission::{Pending, PendingKey, payload_hash};
use crate::api::Event;
use crate::log::{Log, Offset, Partition, Record};
use crate::record::{self, DecodeError, Opened};
use crate::sequencer::Sequencer;
use crate::store::{Batch, Position, Store, StoreError, StoredMessage};

/// Heads kept in memory, up to twice as many: 80 B each.
const HEADS_MAX: usize = 100_000;
/// Records written at once: what fits a few ms, so that fan-out is not kept waiting.
const BATCH_RECORDS_MAX: usize = 1_024;

/// Bytes of write buffers that make a rest worth its files.
const REST_BYTES_MIN: u64 = 2 << 20;

/// What the rows of a record take there besides its body: four keys, four skip list nodes.
const ROWS_BYTES: u64 = 512;

/// A record that can't be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record can't be read.
    #[error("record at offset {offset}: {source}")]
    Record {
        /// Where.
        offset: Offset,
        /// Why.
        source: DecodeError,
    },
    /// A message to a conversation whose opening the log had before, and the store lacks.
    #[error("record at offset {offset}: conversation {conversation_id} is not in the store")]
    NoConversation {
        /// Where.
        offset: Offset,
        /// Which.
        conversation_id: u64,
    },
}

/// Turns records into store batches and frames; no threads, no queues.
pub(crate) struct Applier {
    store: Arc<dyn Store>,
    pub(crate) sequencer: Sequencer,
    audiences: Audiences,
    pub(crate) position: Position,
}

/// A frame for the members of a conversation, but for one.
struct Post {
    frame: Arc<[u8]>,
    to: Arc<Audience>,
    but: Option<u64>,
}

/// What is to be told of a batch, and what is to be done once it is in the store.
#[derive(Default)]
pub(crate) struct Applied {
    keys: Vec<PendingKey>,
    posts: Vec<Post>,
    bytes: usize,
    records: u64,
}

impl Applier {
    pub(crate) fn new(store: Arc<dyn Store>, position: Position) -> Applier {
        let audiences = Audiences::new(Arc::clone(&store));
        Applier {
            store,
            sequencer: Sequencer::new(HEADS_MAX),
            audiences,
            position,
        }
    }

    /// Writes records, in log order, as one batch, and tells nobody: a replay.
    pub(crate) fn replay(&mut self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (batch, applied) = self.take(records, None)?;
        self.store.apply(&batch)?;
        Ok(applied)
    }

    /// Gives records, in log order, their seqs: what is to be written, as one batch, and what is to be
    /// told. `outbox` groups the members; none in a replay, where nobody is connected.
    fn take(
        &mut self,
        records: &[Record],
        outbox: Option<&Outbox>,
    ) -> Result<(Batch, Applied), ApplyError> {
        let mut batch = Batch::default();
        let mut applied = Applied::default();
        for record in records {
            applied.records += 1;
            applied.bytes += record.body.len();
            self.position.next_offset = record.offset.0 + 1;
            let decoded = record::decode(&record.body).map_err(|source| ApplyError::Record {
                offset: record.offset,
                source,
            })?;
            match decoded {
                record::Record::Message(message) => {
                    self.message(record.offset, &message, outbox, &mut batch, &mut applied)?;
                }
                record::Record::Opened(opened) => {
                    self.opened(opened, outbox, &mut batch, &mut applied);
                }
            }
        }
        batch.position = self.position;
        Ok((batch, applied))
    }

    fn message(
        &mut self,
        offset: Offset,
        message: &record::Message<'_>,
        outbox: Option<&Outbox>,
        batch: &mut Batch,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let conversation_id = message.conversation_id;
        let audience =
            self.audiences
                .of(conversation_id, outbox)?
                .ok_or(ApplyError::NoConversation {
                    offset,
                    conversation_id,
                })?;
        let load = || self.store.head(conversation_id);
        let head = self.sequencer.assign(conversation_id, offset.0, load)?;
        self.note(message.message_id, message.hlc);
        let deliver = proto::Deliver {
            conversation_id,
            seq: head.last_seq,
            message_id: message.message_id,
            sender_user_id: message.sender_user_id,
            sender_device_id: message.sender_device_id,
            client_msg_id: message.client_msg_id,
            hlc: message.hlc,
            payload: message.payload.to_vec(),
        };
        if outbox.is_some() {
            let frame = proto::encode(&deliver).into();
            applied.posts.push(Post {
                frame,
                to: audience,
                but: None,
            });
        }
        let key = (message.sender_user_id, message.client_msg_id);
        applied.keys.push(PendingKey::Send(key));
        batch.heads.insert(conversation_id, head);
        let payload_hash = payload_hash(message.payload);
        batch.messages.push(StoredMessage {
            deliver,
            payload_hash,
            log_offset: offset.0,
        });
        Ok(())
    }

    fn opened(
        &mut self,
        opened: Opened,
        outbox: Option<&Outbox>,
        batch: &mut Batch,
        applied: &mut Applied,
    ) {
        self.note(opened.conversation_id, opened.hlc);
        let audience = self
            .audiences
            .learn(opened.conversation_id, &opened.members, outbox);
        if outbox.is_some() {
            let pushed = proto::ConversationOpened {
                request_id: 0,
                conversation_id: opened.conversation_id,
                head_seq: 0,
                member_user_ids: opened.members.clone(),
            };
            let frame = proto::encode(&pushed).into();
            let but = Some(opened.opener_user_id);
            applied.posts.push(Post {
                frame,
                to: audience,
                but,
            });
        }
        applied.keys.push(PendingKey::Open(opened.key));
        batch.opened.push(opened);
    }

    fn note(&mut self, id: u64, hlc: u64) {
        self.position.last_id = self.position.last_id.max(id);
        self.position.last_hlc = self.position.last_hlc.max(hlc);
    }

    /// Between batches of live records: lets go of what was not used lately.
    fn turn(&mut self) {
        self.sequencer.turn();
        self.audiences.turn();
    }
}

/// The applier's thread.
pub(crate) struct ApplierThread {
    pub(crate) applier: Applier,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) work: Receiver<Work>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) outbox: Arc<Outbox>,
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
        let mut synced = self.applier.position;
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
            if (ticks.try_recv().is_ok() || finish) && synced != self.applier.position {
                self.sync(&mut synced);
            }
            if finish {
                return;
            }
        }
    }

    /// Nothing came for a whole interval: after a spell of traffic the store's write buffers are
    /// given back. Small ones are not worth a file each.
    fn rest(&mut self, synced: &Position) {
        if *synced != self.applier.position || self.buffered_bytes < REST_BYTES_MIN {
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
            self.outbox.post(shard, event);
        }
        if self.store_failed.load(Ordering::Relaxed) {
            return self.let_go(&taken.records, taken.failed, taken.failed_bytes);
        }
        if taken.records.is_empty() {
            return self.progress.resolve(taken.failed, taken.failed_bytes);
        }
        match self.tell_and_write(&taken.records) {
            Ok(applied) => self.applied(applied, taken.failed, taken.failed_bytes),
            Err(error) => {
                tracing::error!(%error, "the store failed; start again to apply what was acked");
                self.store_failed.store(true, Ordering::Relaxed);
                self.let_go(&taken.records, taken.failed, taken.failed_bytes);
            }
        }
    }

    fn tell_and_write(&mut self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (batch, applied) = self.applier.take(records, Some(&self.outbox))?;
        for post in &applied.posts {
            self.fan_out(post);
        }
        self.store.apply(&batch)?;
        Ok(applied)
    }

    fn applied(&mut self, applied: Applied, failed: u64, failed_bytes: usize) {
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for key in applied.keys {
                pending.applied(key);
            }
        }
        self.progress
            .resolve(applied.records + failed, applied.bytes + failed_bytes);
        self.counters.applied.add(applied.records);
        self.buffered_bytes += applied.bytes as u64 + ROWS_BYTES * applied.records;
        self.applier.turn();
    }

    fn fan_out(&self, post: &Post) {
        for (shard, users) in post.to.by_shard() {
            let mut users = users.clone();
            users.retain(|&user_id| Some(user_id) != post.but);
            if !users.is_empty() {
                self.counters.fanned_out.add(1);
                let frame = Arc::clone(&post.frame);
                self.outbox.post(*shard, Event::Fanout { frame, users });
            }
        }
    }

    /// The store takes nothing more: the records stay in the log for the next start. Those who
    /// wait for them go on, and are refused by `store_failed`.
    fn let_go(&self, records: &[Record], failed: u64, failed_bytes: usize) {
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        self.progress
            .resolve(records.len() as u64 + failed, bytes + failed_bytes);
    }

    fn sync(&mut self, synced: &mut Position) {
        if self.store_failed.load(Ordering::Relaxed) {
            return;
        }
        self.store.note_time(self.config.clock.now_ms());
        match self.store.persist() {
            Ok(()) => {
                *synced = self.applier.position;
                self.log
                    .set_watermark(Partition::ONLY, Offset(synced.next_offset));
            }
            Err(error) => {
                tracing::error!(%error, "the store could not be synced");
                self.store_failed.store(true, Ordering::Relaxed);
            }
        }
    }
}
