//! The store: what is read. Derived from the log and rebuilt from it where it is behind.
//!
//! A small trait, so that a distributed store can stand behind it; `fjall` is the embedded one. One
//! applier writes, in log order and in whole batches; any thread reads. A batch may be written
//! again after a crash, with the same rows.

pub mod cluster;
pub mod cql;
mod expiry;
pub mod fjall;
mod inbox;
mod receipts;
mod rows;

use std::sync::Arc;

use rookery_wire::proto;

use crate::admission::{ConversationLimits, Conversations, Full, Known, SendKey};
use crate::log::{Offset, Partition};
use crate::record::{OpenKey, Opened};
use crate::sequencer::Head;

pub use inbox::{INBOX_TTL_MS, Place, SLOT_MS, Segment, SegmentRow, Slot};
pub use receipts::{RECEIPT_TTL_MS, Receipt, Received, receipt_holds};

/// The layout of the embedded store's rows.
pub const LAYOUT_VERSION: u32 = 3;

/// The store failed, or holds what it can't hold.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation failed. The instance takes no more writes.
    #[error("{doing}: {reason}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        reason: String,
    },
    /// A service cannot be reached, or did not answer in time. What was being done may have been done;
    /// doing it again changes nothing, and may succeed later.
    #[error("{service} is away: {reason}")]
    Away {
        /// Which.
        service: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// A row does not have its shape.
    #[error("a row of {table} is damaged (key {key})")]
    Damaged {
        /// Which table.
        table: &'static str,
        /// The key, in hex.
        key: String,
    },
    /// Another program's store.
    #[error("layout version {found}, this program reads {LAYOUT_VERSION}")]
    Version {
        /// What was found.
        found: u32,
    },
}

impl StoreError {
    /// Whether doing the same again would only fail again.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, StoreError::Away { .. })
    }
}

/// How far the embedded store is in its log, and how far its node's ids are; written with every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Every record below this offset was applied.
    pub next_offset: u64,
    /// The greatest id given by then; of a shared log, what those that may be given are below.
    pub last_id: u64,
    /// The same of stamps.
    pub last_hlc: u64,
}

/// How far the store is in a partition of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Below it every message is stored. At and above it nothing is believed: it is counted again and
    /// written again, the same rows.
    pub next: Offset,
    /// Below it every message is in the inboxes of its members, never above `next`.
    pub inbox: Offset,
}

/// A message with its seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// As it will be delivered.
    pub deliver: proto::Deliver,
    /// For its dedup row.
    pub payload_hash: u64,
    /// The offset of its record within the conversation's partition.
    pub log_offset: u64,
    /// When the log took the record, Unix ms; that of its id in an embedded log.
    pub at_ms: u64,
}

impl StoredMessage {
    /// What its sender's name for it stands for.
    pub fn claim(&self) -> Claim {
        Claim {
            sender_user_id: self.deliver.sender_user_id,
            client_msg_id: self.deliver.client_msg_id,
            known: Known {
                conversation_id: self.deliver.conversation_id,
                payload_hash: self.payload_hash,
                message_id: self.deliver.message_id,
                hlc: self.deliver.hlc,
            },
        }
    }

    /// What stands in its place where the store refuses it: the same message, empty.
    pub fn without_payload(&self) -> StoredMessage {
        let deliver = proto::Deliver {
            payload: Vec::new(),
            ..self.deliver
        };
        StoredMessage { deliver, ..*self }
    }

    /// The conversation's head after it.
    pub fn head(&self) -> Head {
        Head {
            last_seq: self.deliver.seq,
            next_offset: self.log_offset + 1,
        }
    }
}

/// A record that was counted, by its sender's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What a retry is answered with.
    pub known: Known,
    /// Its seq.
    pub seq: u64,
    /// The offset of the record within the conversation's partition.
    pub log_offset: u64,
    /// When the log took the record, Unix ms.
    pub at_ms: u64,
}

/// A message that its sender may have sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub sender_user_id: u64,
    /// The sender's id of it.
    pub client_msg_id: proto::ClientMsgId,
    /// What the id will stand for where it is new.
    pub known: Known,
}

impl Claim {
    /// The sender and the sender's id.
    pub fn name(&self) -> SendKey {
        (self.sender_user_id, self.client_msg_id)
    }
}

/// What a claim comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The id is new and stands for this message from now on.
    New,
    /// Nobody knows: whoever could tell is away or has forgotten. To be appended as a repetition, so
    /// that the consumer looks.
    Unsure,
    /// It was claimed before, and nobody knows whether its record reached the log. To be appended, as
    /// a repetition, under the ids that it has.
    Begun(Known),
    /// It is durable; may be one whose time has run out.
    Durable(Known),
}

/// Whether a conversation exists already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It does now, and its record is to be appended.
    New,
    /// Under this id, with these members.
    Exists {
        /// Which.
        conversation_id: u64,
        /// All members, ascending.
        members: Arc<[u64]>,
    },
    /// It does not, and is not opened: somebody has as many as there may be.
    Full(Full),
}

/// Rows that become visible, and survive, together (in a distributed store: those of one conversation).
#[derive(Debug, Default)]
pub struct Batch {
    /// Messages, each with its dedup entry; the last one of a conversation is its head.
    pub messages: Vec<StoredMessage>,
    /// Conversations, each with its members and its row in their lists.
    pub opened: Vec<Opened>,
    /// After the batch.
    pub position: Position,
}

impl Batch {
    /// Adds the rows that come next in the log.
    pub fn add(&mut self, next: Batch) {
        self.messages.extend(next.messages);
        self.opened.extend(next.opened);
        self.position = next.position;
    }

    /// Its first part and its second, to be written in this order; or all of it, where there is one message
    /// in it or none.
    pub fn halves(mut self) -> Result<(Batch, Batch), Batch> {
        let all = self.messages.len();
        let first = if self.opened.is_empty() { all / 2 } else { 0 };
        if first == all || (first == 0 && self.opened.is_empty()) {
            return Err(self);
        }
        let second = Batch {
            messages: self.messages.split_off(first),
            opened: Vec::new(),
            position: self.position,
        };
        Ok((self, second))
    }
}

/// Messages of one conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// In the order asked for.
    pub messages: Vec<proto::Deliver>,
    /// Whether more lie beyond the last one.
    pub has_more: bool,
}

/// How much a slice may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Messages.
    pub messages_max: usize,
    /// Bytes of payload, but one message whatever its size.
    pub bytes_max: usize,
}

/// Messages of one conversation that are asked for from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// Which conversation.
    pub conversation_id: u64,
    /// Only smaller seqs; 0 for the newest.
    pub before_seq: u64,
    /// Only greater ones.
    pub above_seq: u64,
    /// How many, and how much of them.
    pub bound: Bound,
}

/// See the module.
pub trait Store: Send + Sync + 'static {
    /// How far it is; zeros where it is empty. Never less than at the last `reach`, perhaps more
    /// than what survived of the other rows.
    fn position(&self) -> Result<Position, StoreError>;

    /// How far it is in partitions of the log, in order; zeros where it has nothing of one.
    fn reached(&self, partitions: &[Partition]) -> Result<Vec<Reached>, StoreError>;

    /// A conversation's head; zeros where it has no message.
    fn head(&self, conversation_id: u64) -> Result<Head, StoreError>;

    /// The same of many, in order.
    fn heads(&self, conversation_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        conversation_ids.iter().map(|&id| self.head(id)).collect()
    }

    /// What a conversation's head was when the record at an offset was its next one, of many in order:
    /// the greatest seq whose record lies below the offset. Exact where every message below it is
    /// stored, whatever lies at and above it.
    fn bases(&self, asked: &[(u64, Offset)]) -> Result<Vec<Head>, StoreError>;

    /// A conversation's members, ascending; `None` where there is no such conversation.
    fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError>;

    /// The same of many, in order.
    fn members_of(&self, conversation_ids: &[u64]) -> Result<Vec<Option<Arc<[u64]>>>, StoreError> {
        let members = |&id| self.members(id);
        conversation_ids.iter().map(members).collect()
    }

    /// Whether a user is in a conversation.
    fn is_member(&self, conversation_id: u64, user_id: u64) -> Result<bool, StoreError>;

    /// The message that a `client_msg_id` stands for. May be one whose time has run out.
    fn known(&self, name: SendKey) -> Result<Option<Known>, StoreError>;

    /// Looks up what ids stand for, and takes those that are new where that is kept outside the log.
    /// Answers in order. Two claims of one id in a call are each other's business.
    fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claim = |claim: &Claim| {
            let known = self.known(claim.name())?;
            Ok(known.map_or(Claimed::New, Claimed::Durable))
        };
        claims.iter().map(claim).collect()
    }

    /// The records that were counted under names, in order: for a log that may have a message twice.
    /// What an embedded log has is there once, and its store is never asked.
    fn sent(&self, names: &[SendKey]) -> Result<Vec<Vec<Sent>>, StoreError> {
        Ok(vec![Vec::new(); names.len()])
    }

    /// The conversation that was opened under a key. May be one whose time has run out.
    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError>;

    /// A conversation is about to be opened. A store that is the authority over members writes it, where
    /// its members have room for it, or tells what exists under its key; one that is derived from the log has
    /// nothing to do.
    fn open(
        &self,
        _opened: &Opened,
        _now_ms: u64,
        _limits: &ConversationLimits,
    ) -> Result<Opening, StoreError> {
        Ok(Opening::New)
    }

    /// How many conversations a user has, of the first so many of its list. Not asked of an authority over members,
    /// which counts in [`open`](Self::open).
    fn count_conversations(
        &self,
        _user_id: u64,
        _rows_max: usize,
    ) -> Result<Conversations, StoreError> {
        Ok(Conversations::default())
    }

    /// Conversations that the log has. A store that is the authority over members has them afterwards too,
    /// though it lost them; one that is derived from the log has nothing to do.
    fn reopen(&self, _opened: &[Opened]) -> Result<(), StoreError> {
        Ok(())
    }

    /// The head and the messages with a seq above `have_seq`, ascending and without a gap; a message
    /// that is being written ends both.
    fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError>;

    /// The messages with a seq below another one, descending.
    fn before(&self, below: &Below) -> Result<Slice, StoreError>;

    /// The same of many conversations, in order, each within its own bound.
    fn before_many(&self, asked: &[Below]) -> Result<Vec<Slice>, StoreError> {
        asked.iter().map(|below| self.before(below)).collect()
    }

    /// Devices have received. Monotone: of a conversation the greatest seq stays, and any writing of
    /// it lets it live for [`RECEIPT_TTL_MS`] from `now_ms`. Written again, it changes nothing.
    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError>;

    /// What a device has received of some conversations, as far as that is still kept, in no order.
    /// [`Receipt::CURSOR`] is one of them.
    fn received(
        &self,
        device: (u64, u32),
        conversation_ids: &[u64],
        now_ms: u64,
    ) -> Result<Vec<Received>, StoreError>;

    /// Whether anything is kept that a device has received.
    fn has_received(&self, device: (u64, u32), now_ms: u64) -> Result<bool, StoreError>;

    /// Enters segments into the inboxes of their members. Written again, or grown, they take the place
    /// of what was there.
    fn mark(&self, segments: &[Segment]) -> Result<(), StoreError>;

    /// The segments of a user's inbox from a slot on and below a place, the newest first, and whether
    /// there are more. What was counted within the last moments may be missing.
    fn segments(
        &self,
        user_id: u64,
        from: Slot,
        below: Place,
        rows_max: usize,
    ) -> Result<(Vec<SegmentRow>, bool), StoreError>;

    /// The conversations of a user with an id above `after`, ascending, and whether there are more.
    fn conversations(
        &self,
        user_id: u64,
        after: u64,
        rows_max: usize,
    ) -> Result<(Vec<proto::ConversationHead>, bool), StoreError>;

    /// Writes a batch. It is visible when this returns; durable after the next `reach`.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes durable whatever was applied and marked before the call, and then how far that is, and
    /// what ids and stamps of this node are below.
    fn reach(&self, reached: &[(Partition, Reached)], given: &Position) -> Result<(), StoreError>;

    /// Writing has paused: the store may write out what it holds in memory for the next writes. What
    /// was applied is durable already.
    fn rest(&self) -> Result<(), StoreError>;

    /// The time by the store's own clock, Unix ms; none where that is this host's.
    fn now_ms(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Tells the store the time, by which it drops what has run out.
    fn note_time(&self, now_ms: u64);
}
