//! From records to what is written and what is told: each message gets its seq. No threads, no queues.
//!
//! What a batch needs of the store is looked up first and together ([`Applier::prepare`]); what is then
//! done with the records, in their order, cannot fail for a service that is away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rookery_wire::proto;

use super::audience::{Audience, Audiences};
use super::clock::Clock;
use super::counters::{self, Counters};
use super::dispatch::Dispatch;
use super::inbox::{Entered, Inboxes};
use super::openings::OpenedAt;
use crate::admission::{PendingKey, SendKey, payload_hash};
use crate::api::{DeviceKey, Event};
use crate::ids;
use crate::log::{Offset, Partition, Record};
use crate::record::{self, DecodeError, Opened};
use crate::repetitions::{Arrival, Repetitions};
use crate::sequencer::Sequencer;
use crate::store::{Batch, Position, Sent, Store, StoreError, StoredMessage};

/// Heads kept in memory, up to twice as many: 60 B each.
pub(super) const HEADS_MAX: usize = 100_000;

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
    /// It lies under another key than its conversation's: no record of ours, or under a foreign order.
    #[error("record at offset {offset}: its key {key} is not its conversation")]
    Key {
        /// Where.
        offset: Offset,
        /// The key.
        key: u64,
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

/// A record that was read.
pub(crate) struct Decoded<'a> {
    pub(crate) record: &'a Record,
    what: record::Record<'a>,
}

impl<'a> Decoded<'a> {
    pub(crate) fn new(record: &'a Record) -> Result<Decoded<'a>, ApplyError> {
        let what = record::decode(&record.body).map_err(|source| ApplyError::Record {
            offset: record.offset,
            source,
        })?;
        let conversation_id = match &what {
            record::Record::Message(message) => message.conversation_id,
            record::Record::Opened(opened) => opened.conversation_id,
            record::Record::Genesis(_) => record.key,
        };
        if conversation_id != record.key {
            let (offset, key) = (record.offset, record.key);
            return Err(ApplyError::Key { offset, key });
        }
        Ok(Decoded { record, what })
    }

    fn arrival(&self, message: &record::Message<'_>) -> Arrival {
        Arrival {
            partition: self.record.partition,
            offset: self.record.offset,
            at_ms: self.record.at_ms,
            conversation_id: message.conversation_id,
            sent_as: (message.sender_user_id, message.client_msg_id),
            message_id: message.message_id,
            repeated: message.repeated,
        }
    }

    /// Rows that it writes: a message's, or those of an opening's members and their lists.
    pub(crate) fn rows(&self) -> usize {
        match &self.what {
            record::Record::Message(_) => 2,
            record::Record::Opened(opened) => 2 + opened.members.len(),
            record::Record::Genesis(_) => 0,
        }
    }
}

/// Reads records, all of them.
pub(crate) fn decode(records: &[Record]) -> Result<Vec<Decoded<'_>>, ApplyError> {
    records.iter().map(Decoded::new).collect()
}

/// Turns records into store batches and frames.
pub(crate) struct Applier {
    store: Arc<dyn Store>,
    sequencer: Sequencer,
    audiences: Audiences,
    inboxes: Arc<Inboxes>,
    pub(crate) position: Position,
    /// Of a log that many write and consume. None for an embedded log, in which no message is twice.
    repetitions: Option<Repetitions>,
    /// Below it the store has every message of a partition: what is read again there is counted, and
    /// entered into inboxes, and no more.
    stored: HashMap<Partition, Offset>,
}

/// A batch that is being taken: what was looked up for it, and what it has come to so far.
pub(crate) struct Taking<'a> {
    /// Groups the members by shard; none in a replay, where nobody is connected.
    dispatch: Option<&'a Dispatch>,
    now_ms: u64,
    /// What its records may be repetitions of, by name.
    sent: HashMap<SendKey, Vec<Sent>>,
    /// To be written.
    pub(crate) batch: Batch,
    /// To be told.
    pub(crate) applied: Applied,
}

/// A frame for the members of a conversation, but for one device.
struct Post {
    conversation_id: u64,
    frame: Arc<[u8]>,
    to: Arc<Audience>,
    but: Option<DeviceKey>,
    /// A message's.
    hlc: Option<u64>,
}

/// What is to be told of a batch, and what is to be done once it is in the store.
#[derive(Default)]
pub(crate) struct Applied {
    /// What is pending no longer.
    pub(crate) keys: Vec<PendingKey>,
    posts: Vec<Post>,
    /// Of a log that many write: conversations that were opened, those that were read again among them.
    pub(crate) opened: Vec<OpenedAt>,
    /// Of the records.
    pub(crate) bytes: usize,
    /// The records.
    pub(crate) records: u64,
    /// Those of them that were a message that the log had already.
    pub(crate) duplicates: u64,
}

impl Applied {
    /// Posts to everybody who is to be told.
    pub(crate) fn tell(&self, dispatch: &Dispatch, counters: &Counters, clock: &dyn Clock) {
        for post in &self.posts {
            for (shard, users) in post.to.by_shard() {
                counters.fanned_out.add(1);
                let (frame, users) = (Arc::clone(&post.frame), users.clone());
                let event = Event::Fanout {
                    conversation_id: post.conversation_id,
                    frame,
                    users,
                    but: post.but,
                };
                dispatch.post(*shard, event);
            }
        }
        let now_ms = clock.now_ms();
        for hlc in self.posts.iter().filter_map(|post| post.hlc) {
            counters::record_since(&counters.deliver_seconds, hlc, now_ms);
        }
    }
}

impl Applier {
    pub(crate) fn new(store: Arc<dyn Store>, inboxes: Arc<Inboxes>, position: Position) -> Applier {
        let audiences = Audiences::new(Arc::clone(&store));
        Applier {
            store,
            sequencer: Sequencer::new(HEADS_MAX),
            audiences,
            inboxes,
            position,
            repetitions: None,
            stored: HashMap::new(),
        }
    }

    /// The same for a log that many write and consume.
    pub(crate) fn shared(
        store: Arc<dyn Store>,
        inboxes: Arc<Inboxes>,
        position: Position,
    ) -> Applier {
        Applier {
            repetitions: Some(Repetitions::default()),
            ..Applier::new(store, inboxes, position)
        }
    }

    /// Partitions moved: what was known of heads may be stale.
    pub(crate) fn forget(&mut self) {
        self.sequencer.forget();
    }

    /// A partition is consumed from `at` on; the store has it below `stored`.
    pub(crate) fn begin(&mut self, partition: Partition, at: Offset, stored: Offset) {
        self.stored.insert(partition, stored);
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.begin(partition, at);
        }
    }

    /// Writes records, in log order, as one batch, and tells nobody: a replay.
    pub(crate) fn replay(&mut self, records: &[Record], now_ms: u64) -> Result<(), ApplyError> {
        let (batch, _) = self.take(&decode(records)?, None, now_ms)?;
        self.store.apply(&batch)?;
        self.turn();
        Ok(())
    }

    /// Gives records, in log order, their seqs: what is to be written, as one batch, and what is to be
    /// told.
    pub(crate) fn take(
        &mut self,
        decoded: &[Decoded<'_>],
        dispatch: Option<&Dispatch>,
        now_ms: u64,
    ) -> Result<(Batch, Applied), ApplyError> {
        let mut taking = self.prepare(decoded, dispatch, now_ms)?;
        for record in decoded {
            self.take_one(record, &mut taking)?;
        }
        taking.batch.position = self.position;
        Ok((taking.batch, taking.applied))
    }

    /// Looks up what the records need of the store, all of a kind in one call. After an error it may be
    /// done again.
    pub(crate) fn prepare<'a>(
        &mut self,
        decoded: &[Decoded<'_>],
        dispatch: Option<&'a Dispatch>,
        now_ms: u64,
    ) -> Result<Taking<'a>, StoreError> {
        let (mut opened, mut unheard) = (HashSet::new(), HashSet::new());
        let (mut headless, mut bases) = (HashSet::new(), Vec::new());
        let mut names = HashSet::new();
        for it in decoded {
            let message = match &it.what {
                record::Record::Opened(here) => {
                    opened.insert(here.conversation_id);
                    continue;
                }
                record::Record::Genesis(_) => continue,
                record::Record::Message(message) => message,
            };
            let id = message.conversation_id;
            if !opened.contains(&id) && !self.audiences.knows(id) {
                unheard.insert(id);
            }
            if !self.sequencer.knows(id) && headless.insert(id) {
                bases.push((id, it.record.offset));
            }
            let arrival = it.arrival(message);
            let asks = |of: &Repetitions| of.must_ask(&arrival);
            if self.repetitions.as_ref().is_some_and(asks) {
                names.insert(arrival.sent_as);
            }
        }
        let unheard: Vec<u64> = unheard.into_iter().collect();
        self.audiences.look_up(&unheard, dispatch)?;
        if !bases.is_empty() {
            for ((id, _), base) in bases.iter().zip(self.store.bases(&bases)?) {
                self.sequencer.learn(*id, base);
            }
        }
        let names: Vec<SendKey> = names.into_iter().collect();
        let sent = match names.is_empty() {
            true => Vec::new(),
            false => self.store.sent(&names)?,
        };
        Ok(Taking {
            dispatch,
            now_ms,
            sent: names.into_iter().zip(sent).collect(),
            batch: Batch::default(),
            applied: Applied::default(),
        })
    }

    /// Takes the next record, which was [prepared](Self::prepare). An error has changed nothing.
    pub(crate) fn take_one(
        &mut self,
        decoded: &Decoded<'_>,
        taking: &mut Taking<'_>,
    ) -> Result<(), ApplyError> {
        let record = decoded.record;
        match &decoded.what {
            record::Record::Message(message) => {
                self.message(&decoded.arrival(message), message, taking)?;
            }
            record::Record::Opened(opened) => self.opened(record, opened, taking),
            // Names the log; the start has held it against the store.
            record::Record::Genesis(_) => {}
        }
        taking.applied.records += 1;
        taking.applied.bytes += record.body.len();
        self.position.next_offset = record.offset.0 + 1;
        Ok(())
    }

    fn message(
        &mut self,
        arrival: &Arrival,
        message: &record::Message<'_>,
        taking: &mut Taking<'_>,
    ) -> Result<(), ApplyError> {
        let Arrival {
            partition,
            offset,
            conversation_id,
            ..
        } = *arrival;
        let audience = self.audiences.find(conversation_id);
        let audience = audience.ok_or(ApplyError::NoConversation {
            offset,
            conversation_id,
        })?;
        let applied = &mut taking.applied;
        applied.keys.push(PendingKey::Send(arrival.sent_as));
        if let Some(repetitions) = &mut self.repetitions {
            let sent = taking.sent.get(&arrival.sent_as);
            if repetitions.judge(arrival, sent.map_or(&[], Vec::as_slice)) {
                applied.duplicates += 1;
                return Ok(());
            }
        }
        let seq = self.sequencer.assign(conversation_id, offset.0).last_seq;
        self.note(message.message_id, message.hlc);
        let entered = Entered {
            partition,
            offset,
            conversation_id,
            seq,
        };
        self.inboxes
            .enter(&entered, audience.members(), taking.now_ms);
        if self.is_stored(partition, offset) {
            return Ok(());
        }
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
        if taking.dispatch.is_some() {
            applied.posts.push(Post {
                conversation_id,
                frame: proto::encode(&deliver).into(),
                to: audience,
                but: None,
                hlc: Some(message.hlc),
            });
        }
        taking.batch.messages.push(StoredMessage {
            deliver,
            payload_hash: payload_hash(message.payload),
            log_offset: offset.0,
            at_ms: match arrival.at_ms {
                0 => ids::unix_ms(message.message_id),
                at_ms => at_ms,
            },
        });
        Ok(())
    }

    fn opened(&mut self, record: &Record, opened: &Opened, taking: &mut Taking<'_>) {
        self.note(opened.conversation_id, opened.hlc);
        let (id, members) = (opened.conversation_id, &opened.members);
        let audience = self.audiences.learn(id, members, taking.dispatch);
        taking.applied.keys.push(PendingKey::Open(opened.key));
        if self.repetitions.is_some() {
            taking.applied.opened.push(OpenedAt {
                partition: record.partition,
                offset: record.offset,
                opened: opened.clone(),
            });
        }
        if self.is_stored(record.partition, record.offset) {
            return;
        }
        if taking.dispatch.is_some() {
            let pushed = proto::ConversationOpened {
                request_id: 0,
                conversation_id: id,
                head_seq: 0,
                member_user_ids: members.clone(),
            };
            taking.applied.posts.push(Post {
                conversation_id: id,
                frame: proto::encode(&pushed).into(),
                to: audience,
                but: Some(DeviceKey {
                    user_id: opened.opener_user_id,
                    device_id: opened.opener_device_id,
                }),
                hlc: None,
            });
        }
        taking.batch.opened.push(opened.clone());
    }

    fn is_stored(&self, partition: Partition, offset: Offset) -> bool {
        let stored = self.stored.get(&partition);
        stored.is_some_and(|&below| offset < below)
    }

    fn note(&mut self, id: u64, hlc: u64) {
        self.position.last_id = self.position.last_id.max(id);
        self.position.last_hlc = self.position.last_hlc.max(hlc);
    }

    /// Between batches of live records: lets go of what was not used lately.
    pub(crate) fn turn(&mut self) {
        self.sequencer.turn();
        self.audiences.turn();
    }
}
