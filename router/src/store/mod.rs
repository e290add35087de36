//! The store: what is read. Derived from the log and rebuilt from it where it is behind.
//!
//! A small trait, so that a distributed store can stand behind it; `fjall` is the embedded one. One
//! applier writes, in log order and in whole batches; any thread reads. A batch may be written
//! again after a crash, with the same rows.

pub mod cluster;
pub mod cql;
mod expiry;
pub mod fjall;
mod receipts;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use rookery_wire::proto;

use crate::admission::Known;
use crate::record::{OpenKey, Opened};
use crate::sequencer::Head;

pub use receipts::{Below, InboxRow, Numbered, RECEIPT_TTL_MS, Receipt, Received, receipt_holds};

/// The layout of the embedded store's rows.
pub const LAYOUT_VERSION: u32 = 1;

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

/// Where the store is in the log, written with every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Every record below this offset was applied.
    pub next_offset: u64,
    /// The greatest id given by then.
    pub last_id: u64,
    /// The greatest stamp given by then.
    pub last_hlc: u64,
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
}

/// Where a message of a store lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its seq.
    pub seq: u64,
    /// The offset of the record that it came from.
    pub log_offset: u64,
}

/// A message that its sender may have sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub sender_user_id: u64,
    /// The sender's id of it.
    pub client_msg_id: u64,
    /// What the id will stand for where it is new.
    pub known: Known,
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
}

/// Rows that become visible, and survive, together (in a distributed store: the messages first, then
/// what counts them).
#[derive(Debug, Default)]
pub struct Batch {
    /// Messages, each with its dedup entry and its place in the seq index.
    pub messages: Vec<StoredMessage>,
    /// Conversations, each with its members and its row in their lists.
    pub opened: Vec<Opened>,
    /// The heads after the batch, by conversation.
    pub heads: HashMap<u64, Head>,
    /// After the batch.
    pub position: Position,
}

impl Batch {
    /// Adds the rows that come next in the log.
    pub fn add(&mut self, next: Batch) {
        self.messages.extend(next.messages);
        self.opened.extend(next.opened);
        self.heads.extend(next.heads);
        self.position = next.position;
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

/// See the module.
pub trait Store: Send + Sync + 'static {
    /// How far it is; zeros where it is empty. Never less than at the last `persist`, perhaps more
    /// than what survived of the other rows.
    fn position(&self) -> Result<Position, StoreError>;

    /// A conversation's head; zeros where it has no message.
    fn head(&self, conversation_id: u64) -> Result<Head, StoreError>;

    /// The same of many, in order.
    fn heads(&self, conversation_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        conversation_ids.iter().map(|&id| self.head(id)).collect()
    }

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
    fn known(&self, sender: u64, client_msg_id: u64) -> Result<Option<Known>, StoreError>;

    /// Looks up what ids stand for, and takes those that are new where that is kept outside the log.
    /// Answers in order. Two claims of one id in a call are each other's business.
    fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claim = |claim: &Claim| {
            let known = self.known(claim.sender_user_id, claim.client_msg_id)?;
            Ok(known.map_or(Claimed::New, Claimed::Durable))
        };
        claims.iter().map(claim).collect()
    }

    /// The conversation that was opened under a key. May be one whose time has run out.
    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError>;

    /// A conversation is about to be opened. A store that is the authority over members writes it, or
    /// tells what exists under its key; one that is derived from the log has nothing to do.
    fn open(&self, _opened: &Opened, _now_ms: u64) -> Result<Opening, StoreError> {
        Ok(Opening::New)
    }

    /// Where a message is, if it is there. For records that a head counts already and that are read
    /// again: a store whose recovery is [`Position`]'s never is asked.
    fn placed(
        &self,
        _conversation_id: u64,
        _message_id: u64,
    ) -> Result<Option<Placed>, StoreError> {
        Ok(None)
    }

    /// Where the message that a `client_msg_id` stands for is: [`placed`](Self::placed), by the
    /// sender's name for it.
    fn placed_by_sender(
        &self,
        _sender: u64,
        _client_msg_id: u64,
    ) -> Result<Option<Placed>, StoreError> {
        Ok(None)
    }

    /// Partitions moved: whatever is kept in memory of conversations is stale.
    fn forget(&self) {}

    /// The head and the messages with a seq above `have_seq`, ascending; both of one moment.
    fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError>;

    /// The messages with an id below `before` (0: the newest), descending, through all buckets.
    fn before(&self, conversation_id: u64, before: u64, bound: Bound) -> Result<Slice, StoreError>;

    /// The same of many conversations, in order, each within its own bound.
    fn below(&self, asked: &[Below]) -> Result<Vec<Slice>, StoreError> {
        let before = |it: &Below| self.before(it.conversation_id, it.message_id, it.bound);
        asked.iter().map(before).collect()
    }

    /// Only the ids and seqs of these messages; fewer than asked for where there are no more. Of the
    /// bound the number counts.
    fn numbers_below(&self, asked: &[Below]) -> Result<Vec<Vec<Numbered>>, StoreError>;

    /// Devices have received. Monotone: of a conversation the greatest seq stays, and any writing of
    /// it lets it live for [`RECEIPT_TTL_MS`] from `now_ms`. Written again, it changes nothing.
    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError>;

    /// What a device has received, as far as that is still kept, in no order.
    fn receipts(
        &self,
        user_id: u64,
        device_id: u32,
        now_ms: u64,
    ) -> Result<Vec<Received>, StoreError>;

    /// The conversations of a user that have a message above the seq in `received` (0 for those that
    /// are not named there), in no order. What was applied within the last moments, by another
    /// process, may be missing.
    fn unread(
        &self,
        user_id: u64,
        received: &HashMap<u64, u64>,
    ) -> Result<Vec<InboxRow>, StoreError>;

    /// The conversations of a user with an id above `after`, ascending, and whether there are more.
    fn conversations(
        &self,
        user_id: u64,
        after: u64,
        rows_max: usize,
    ) -> Result<(Vec<proto::ConversationHead>, bool), StoreError>;

    /// Writes a batch. It is visible when this returns; durable after the next `persist`.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes durable whatever was applied before the call.
    fn persist(&self) -> Result<(), StoreError>;

    /// Writing has paused: the store may write out what it holds in memory for the next writes. What
    /// was applied is durable already.
    fn rest(&self) -> Result<(), StoreError>;

    /// Tells the store the time, by which it drops what has run out.
    fn note_time(&self, now_ms: u64);
}
