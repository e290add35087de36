//! What devices have received.

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

impl Receipt {
    /// Not a conversation: under this id a device keeps the [slot](super::Slot) of its inbox below which
    /// it has everything.
    pub const CURSOR: u64 = 0;
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
