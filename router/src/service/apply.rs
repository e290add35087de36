//! From records to what is written and what is told: each message gets its seq. No threads, no queues.

use std::sync::Arc;

use rookery_wire::proto;

use super::audience::{Audience, Audiences};
use super::counters::Counters;
use super::dispatch::Dispatch;
use crate::admission::{PendingKey, SendKey, dedup_holds, payload_hash};
use crate::api::Event;
use crate::generations::Generations;
use crate::ids;
use crate::log::{Offset, Partition, Record};
use crate::record::{self, DecodeError, Opened};
use crate::sequencer::{Head, Sequencer};
use crate::store::{Batch, Position, Store, StoreError, StoredMessage};

/// Heads kept in memory, up to twice as many: 80 B each.
pub(super) const HEADS_MAX: usize = 100_000;
/// Messages remembered by their sender's name for them, up to twice as many: 80 B each.
pub(super) const RECENT_MAX: usize = 100_000;

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

/// Turns records into store batches and frames.
pub(crate) struct Applier {
    store: Arc<dyn Store>,
    pub(crate) sequencer: Sequencer,
    audiences: Audiences,
    pub(crate) position: Position,
    /// Of a log that many write and consume: where each message was seen first. None for an embedded
    /// log, in which no message is twice, and whose replays bring the heads back first.
    seen: Option<Generations<SendKey, First>>,
}

/// The first record of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
struct First {
    partition: Partition,
    offset: Offset,
    message_id: u64,
}

/// What a message is to its conversation.
enum Counted {
    /// Its next one.
    Next(Head),
    /// One that it has already, with this seq: the record is read again.
    Again(u64),
    /// One that it has already by another record.
    Duplicate,
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
    /// What is pending no longer.
    pub(crate) keys: Vec<PendingKey>,
    posts: Vec<Post>,
    /// Of the records.
    pub(crate) bytes: usize,
    /// The records.
    pub(crate) records: u64,
    /// Those of them that were a message that the log had already.
    pub(crate) duplicates: u64,
}

impl Applied {
    /// Posts to everybody who is to be told.
    pub(crate) fn tell(&self, dispatch: &Dispatch, counters: &Counters) {
        for post in &self.posts {
            for (shard, users) in post.to.by_shard() {
                let mut users = users.clone();
                users.retain(|&user_id| Some(user_id) != post.but);
                if !users.is_empty() {
                    counters.fanned_out.add(1);
                    let frame = Arc::clone(&post.frame);
                    dispatch.post(*shard, Event::Fanout { frame, users });
                }
            }
        }
    }
}

impl Applier {
    pub(crate) fn new(store: Arc<dyn Store>, position: Position) -> Applier {
        let audiences = Audiences::new(Arc::clone(&store));
        Applier {
            store,
            sequencer: Sequencer::new(HEADS_MAX),
            audiences,
            position,
            seen: None,
        }
    }

    /// The same for a log that many write and consume.
    pub(crate) fn shared(store: Arc<dyn Store>, position: Position) -> Applier {
        Applier {
            seen: Some(Generations::new(RECENT_MAX)),
            ..Applier::new(store, position)
        }
    }

    /// Partitions moved: what was known of conversations may be stale.
    pub(crate) fn forget(&mut self) {
        self.sequencer.forget();
        if let Some(seen) = &mut self.seen {
            seen.clear();
        }
    }

    /// Writes records, in log order, as one batch, and tells nobody: a replay.
    pub(crate) fn replay(&mut self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (batch, applied) = self.take(records, None)?;
        self.store.apply(&batch)?;
        Ok(applied)
    }

    /// Gives records, in log order, their seqs: what is to be written, as one batch, and what is to be
    /// told. `dispatch` groups the members; none in a replay, where nobody is connected.
    pub(crate) fn take(
        &mut self,
        records: &[Record],
        dispatch: Option<&Dispatch>,
    ) -> Result<(Batch, Applied), ApplyError> {
        let mut batch = Batch::default();
        let mut applied = Applied::default();
        for record in records {
            self.take_one(record, dispatch, &mut batch, &mut applied)?;
        }
        batch.position = self.position;
        Ok((batch, applied))
    }

    /// The same of one record; an error has changed nothing.
    pub(crate) fn take_one(
        &mut self,
        record: &Record,
        dispatch: Option<&Dispatch>,
        batch: &mut Batch,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let decoded = record::decode(&record.body).map_err(|source| ApplyError::Record {
            offset: record.offset,
            source,
        })?;
        match decoded {
            record::Record::Message(message) => {
                self.message(record, &message, dispatch, batch, applied)?;
            }
            record::Record::Opened(opened) => self.opened(opened, dispatch, batch, applied),
            record::Record::Genesis(_) => {}
        }
        applied.records += 1;
        applied.bytes += record.body.len();
        self.position.next_offset = record.offset.0 + 1;
        Ok(())
    }

    fn message(
        &mut self,
        record: &Record,
        message: &record::Message<'_>,
        dispatch: Option<&Dispatch>,
        batch: &mut Batch,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let (conversation_id, offset) = (message.conversation_id, record.offset);
        let audience =
            self.audiences
                .of(conversation_id, dispatch)?
                .ok_or(ApplyError::NoConversation {
                    offset,
                    conversation_id,
                })?;
        let key = (message.sender_user_id, message.client_msg_id);
        let counted = self.count(record, message)?;
        let seq = match &counted {
            Counted::Next(head) => head.last_seq,
            Counted::Again(seq) => *seq,
            Counted::Duplicate => {
                applied.duplicates += 1;
                applied.keys.push(PendingKey::Send(key));
                return Ok(());
            }
        };
        self.note(message.message_id, message.hlc);
        let deliver = proto::Deliver {
            conversation_id,
            seq,
            message_id: message.message_id,
            sender_user_id: message.sender_user_id,
            sender_device_id: message.sender_device_id,
            client_msg_id: message.client_msg_id,
            hlc: message.hlc,
            payload: message.payload.to_vec(),
        };
        if dispatch.is_some() {
            let frame = proto::encode(&deliver).into();
            applied.posts.push(Post {
                frame,
                to: audience,
                but: None,
            });
        }
        applied.keys.push(PendingKey::Send(key));
        let Counted::Next(head) = counted else {
            return Ok(());
        };
        batch.heads.insert(conversation_id, head);
        let payload_hash = payload_hash(message.payload);
        batch.messages.push(StoredMessage {
            deliver,
            payload_hash,
            log_offset: offset.0,
        });
        Ok(())
    }

    /// Counts a message, unless it is counted already.
    fn count(
        &mut self,
        record: &Record,
        message: &record::Message<'_>,
    ) -> Result<Counted, StoreError> {
        let (conversation_id, offset) = (message.conversation_id, record.offset);
        let (store, sequencer) = (&self.store, &mut self.sequencer);
        let load = || store.head(conversation_id);
        if let Some(seen) = &mut self.seen {
            let key = (message.sender_user_id, message.client_msg_id);
            let here = First {
                partition: record.partition,
                offset,
                message_id: message.message_id,
            };
            let now_ms = ids::unix_ms(message.message_id);
            if sequencer.counts(conversation_id, offset.0, load)? {
                // What a head counts is in the store, or was told a moment ago and is on its way there.
                let placed = store.placed(conversation_id, message.message_id)?;
                let again = placed.filter(|placed| placed.log_offset == offset.0);
                return Ok(again.map_or(Counted::Duplicate, |placed| Counted::Again(placed.seq)));
            }
            match seen.hit(key) {
                Some(first) if *first != here && dedup_holds(first.message_id, now_ms) => {
                    return Ok(Counted::Duplicate);
                }
                None if message.repeated => {
                    let placed = store.placed_by_sender(key.0, key.1)?;
                    if placed.is_some_and(|placed| placed.log_offset != offset.0) {
                        return Ok(Counted::Duplicate);
                    }
                }
                _ => {}
            }
            seen.insert(key, here, 1);
        }
        sequencer
            .assign(conversation_id, offset.0, load)
            .map(Counted::Next)
    }

    fn opened(
        &mut self,
        opened: Opened,
        dispatch: Option<&Dispatch>,
        batch: &mut Batch,
        applied: &mut Applied,
    ) {
        self.note(opened.conversation_id, opened.hlc);
        let audience = self
            .audiences
            .learn(opened.conversation_id, &opened.members, dispatch);
        if dispatch.is_some() {
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
    pub(crate) fn turn(&mut self) {
        self.sequencer.turn();
        self.audiences.turn();
        if let Some(seen) = &mut self.seen {
            seen.turn();
        }
    }
}
