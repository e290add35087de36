//! Every key in Redis, and the bytes of a claim.

use crate::admission::{Known, SendKey};
use crate::record::take_u64;
use crate::store::Claim;

/// Bytes of a claim: message id, HLC, conversation id, payload hash, little-endian.
const KNOWN_BYTES: usize = 32;

/// The names of keys under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys {
            prefix: prefix.to_owned(),
        }
    }

    /// What a sender's id stands for.
    pub(super) fn claim(&self, (sender_user_id, client_msg_id): SendKey) -> String {
        let id = u128::from_be_bytes(client_msg_id);
        format!("{}d:{sender_user_id}:{id:032x}", self.prefix)
    }

    /// Unix ms since which no claim is missing; 0 where the log was empty then.
    pub(super) fn complete_since(&self) -> String {
        format!("{}dedup:complete_since", self.prefix)
    }

    /// There while the last claims before a restart may be missing.
    pub(super) fn suspect(&self) -> String {
        format!("{}dedup:suspect", self.prefix)
    }

    /// The `run_id` of the instance that took the last claims.
    pub(super) fn run_id(&self) -> String {
        format!("{}dedup:run_id", self.prefix)
    }

    /// The nodes that a user is connected to.
    pub(super) fn user(&self, user_id: u64) -> String {
        format!("{}nodes_of:{user_id}", self.prefix)
    }

    /// The instance that is a node.
    pub(super) fn node(&self, node_id: u16) -> String {
        format!("{}node:{node_id}", self.prefix)
    }
}

/// The value of a claim.
pub(super) fn claim_value(claim: &Claim) -> [u8; KNOWN_BYTES] {
    let known = &claim.known;
    let mut value = [0; KNOWN_BYTES];
    let fields = [
        known.message_id,
        known.hlc,
        known.conversation_id,
        known.payload_hash,
    ];
    for (bytes, field) in value.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
        *bytes = field.to_le_bytes();
    }
    value
}

/// What a value says; `None` where it is no claim.
pub(super) fn known(value: &[u8]) -> Option<Known> {
    let mut rest = value;
    let known = Known {
        message_id: take_u64(&mut rest)?,
        hlc: take_u64(&mut rest)?,
        conversation_id: take_u64(&mut rest)?,
        payload_hash: take_u64(&mut rest)?,
    };
    rest.is_empty().then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_back_and_nothing_else_is() {
        let claim = Claim {
            sender_user_id: 1,
            client_msg_id: [0xff; 16],
            known: Known {
                conversation_id: 2,
                payload_hash: u64::MAX,
                message_id: 3,
                hlc: 4,
            },
        };
        let value = claim_value(&claim);
        assert_eq!(value[..9], [3, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(known(&value), Some(claim.known));
        assert_eq!(known(&value[..31]), None);
        assert_eq!(known(&[0; 33]), None);
        let keys = Keys::new("t:");
        let uuid = *b"\x01\x8f2345678901234\xff";
        let key = keys.claim((1, uuid));
        assert_eq!(key, "t:d:1:018f32333435363738393031323334ff");
    }
}
