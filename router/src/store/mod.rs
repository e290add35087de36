//! The store: what is read. Derived from the log and rebuilt from it where it is behind.
//!
//! A small trait, so that a distributed store can stand behind it; `fjall` is the embedded one. One
//! applier writes, in log order and in whole batches; any thread reads. A batch may be written
//! again after a crash, with the same rows.

mod expiry;
pub mod fjall;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use rookery_wire::proto;

use crate::admission::Known;
use crate::record::{OpenKey, Opened};
use crate::sequencer::Head;

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
}

/// Rows that become visible, and survive, together.
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

    /// A conversation's members, ascending; `None` where there is no such conversation.
    fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError>;

    /// Whether a user is in a conversation.
    fn is_member(&self, conversation_id: u64, user_id: u64) -> Result<bool, StoreError>;

    /// The message that a `client_msg_id` stands for. May be one whose time has run out.
    fn known(&self, sender: u64, client_msg_id: u64) -> Result<Option<Known>, StoreError>;

    /// The conversation that was opened under a key. May be one whose time has run out.
    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError>;

    /// The head and the messages with a seq above `have_seq`, ascending; both of one moment.
    fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError>;

    /// The messages with an id below `before` (0: the newest), descending, through all buckets.
    fn before(&self, conversation_id: u64, before: u64, bound: Bound) -> Result<Slice, StoreError>;

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
