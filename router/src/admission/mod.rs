//! Admission: which requests become records, and which were asked before.
//!
//! Pure: lookups, ids and time come in from `service::intake`. The invariant: one
//! `(sender, client_msg_id)` is one message for 7 days, whether its record is on its way to the
//! disk (here, in [`Pending`]), or stored.

mod conversations;
mod opening_share;
mod pending;
mod rates;
mod refusal;
mod rules;
mod tickets;

pub use conversations::{ConversationLimits, Conversations, Full};
pub use pending::{Pending, PendingKey, Seen, SendKey, Settled, WAITING_MAX};
pub use rates::{Over, RateLimits, RateMode, Rates, Whose, cost_of_opening, cost_of_send};
pub use refusal::Refusal;
pub use rules::{MEMBERS_MAX, check_peer, members_of_new, page_limit};

use crate::ids;

/// How long a `client_msg_id`, or the `request_id` of a CreateConversation, stays taken.
pub const DEDUP_TTL_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// What is known of a message, to recognise its retry and to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where it went.
    pub conversation_id: u64,
    /// [`payload_hash`] of its payload.
    pub payload_hash: u64,
    /// Its id, which also says when it was.
    pub message_id: u64,
    /// Its stamp.
    pub hlc: u64,
}

impl Known {
    /// Whether a Send with the same `client_msg_id` is a retry of this message rather than another
    /// message: same conversation, same payload.
    pub fn is_retry(&self, conversation_id: u64, payload_hash: u64) -> bool {
        self.conversation_id == conversation_id && self.payload_hash == payload_hash
    }
}

/// Whether something made with the id still counts for deduplication.
pub fn dedup_holds(id: u64, now_ms: u64) -> bool {
    ids::unix_ms(id).saturating_add(DEDUP_TTL_MS) > now_ms
}

/// Tells payloads apart. Not against forgers: a sender could only fool itself.
pub fn payload_hash(payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EPOCH_MS, Snowflake};

    #[test]
    fn an_id_counts_for_seven_days() {
        let id = Snowflake::new(0, 0).next_id(EPOCH_MS + 5);
        assert!(dedup_holds(id, EPOCH_MS + 5));
        assert!(dedup_holds(id, EPOCH_MS + 4 + DEDUP_TTL_MS));
        assert!(!dedup_holds(id, EPOCH_MS + 5 + DEDUP_TTL_MS));
    }
}
