//! What devices have received: receipts, and what an outbox is computed from.

use std::collections::HashMap;

use super::Bound;

/// How long a receipt is kept after it was last written, and how old the messages of an outbox may be.
pub const RECEIPT_TTL_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// Whether a receipt written at `at_ms` is still kept.
pub fn receipt_holds(at_ms: u64, now_ms: u64) -> bool {
    now_ms < at_ms.saturating_add(RECEIPT_TTL_MS)
}

/// A device has everything of a conversation up to a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whose device.
    pub user_id: u64,
    /// Which of theirs.
    pub device_id: u32,
    /// The conversation.
    pub conversation_id: u64,
    /// Up to here.
    pub seq: u64,
}

/// A receipt as it is kept, of a device that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The conversation.
    pub conversation_id: u64,
    /// Up to here.
    pub seq: u64,
    /// Since it was last written.
    pub age_ms: u64,
}

/// A conversation of a user, with its newest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// Which.
    pub conversation_id: u64,
    /// The seq of its last message, 0 for none.
    pub last_seq: u64,
    /// The greatest id of its messages, 0 for none.
    pub last_message_id: u64,
}

impl InboxRow {
    /// Whether there is a message above the seq that was received, 0 where none was.
    pub fn is_above(&self, received: &HashMap<u64, u64>) -> bool {
        let have_seq = received.get(&self.conversation_id).copied().unwrap_or(0);
        self.last_seq > have_seq
    }
}

/// Some messages of a conversation below an id, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// Which conversation.
    pub conversation_id: u64,
    /// Only smaller ids.
    pub message_id: u64,
    /// How many, and how much of them.
    pub bound: Bound,
}

/// A message's two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its id.
    pub message_id: u64,
    /// Its place in the conversation.
    pub seq: u64,
}
