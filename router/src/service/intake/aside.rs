//! Sends that wait until the members of their conversation are known, in the order in which they came.
//!
//! All Sends to such a conversation wait here, so none overtakes another. The invariant: what waits is
//! bounded, in all and of each user.

use std::collections::HashMap;

use rookery_wire::proto;

use crate::api::Caller;

/// Bytes that wait in all, and of one user.
const BYTES_MAX: usize = 16 << 20;
const SHARE_BYTES_MAX: usize = 1 << 20;
/// What a Send takes besides its payload.
const SEND_BYTES: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::service) struct Aside {
    of: HashMap<u64, Vec<(Caller, proto::Send)>>,
    by_user: HashMap<u64, usize>,
    bytes: usize,
}

impl Aside {
    /// Whether Sends to a conversation wait.
    pub(super) fn has(&self, conversation_id: u64) -> bool {
        self.of.contains_key(&conversation_id)
    }

    /// Puts a Send aside, or gives it back where too much waits.
    pub(super) fn put(&mut self, caller: Caller, send: proto::Send) -> Result<(), proto::Send> {
        let bytes = send.payload.len() + SEND_BYTES;
        let held = self.by_user.get(&caller.user_id).copied().unwrap_or(0);
        if held + bytes > SHARE_BYTES_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(send);
        }
        self.by_user.insert(caller.user_id, held + bytes);
        self.bytes += bytes;
        let of = self.of.entry(send.conversation_id).or_default();
        of.push((caller, send));
        Ok(())
    }

    /// Takes what waits for a conversation.
    pub(super) fn take(&mut self, conversation_id: u64) -> Vec<(Caller, proto::Send)> {
        let sends = self.of.remove(&conversation_id).unwrap_or_default();
        for (caller, send) in &sends {
            let bytes = send.payload.len() + SEND_BYTES;
            self.bytes -= bytes;
            if let Some(held) = self.by_user.get_mut(&caller.user_id) {
                *held -= bytes;
                if *held == 0 {
                    self.by_user.remove(&caller.user_id);
                }
            }
        }
        sends
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> Vec<(Caller, proto::Send)> {
        let ids: Vec<u64> = self.of.keys().copied().collect();
        ids.into_iter().flat_map(|id| self.take(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_all_and_of_each_user() {
        let mut aside = Aside::default();
        let mut put = |user_id, conversation_id, bytes: usize| {
            let caller = Caller {
                user_id,
                device_id: 1,
                shard: 0,
                conn: 1,
            };
            let send = proto::Send {
                client_msg_id: 1_u128.to_le_bytes(),
                conversation_id,
                payload: vec![0; bytes],
            };
            aside.put(caller, send).is_ok()
        };
        let full = SHARE_BYTES_MAX - SEND_BYTES;
        assert!(put(1, 7, full) && !put(1, 8, 0), "that is all of one");
        assert!((2..17).all(|user_id| put(user_id, 7, full)));
        assert!(!put(17, 7, 0), "and that of all");
        assert_eq!((aside.take(7).len(), aside.bytes), (16, 0));
        assert!(aside.by_user.is_empty() && !aside.has(7));
    }
}
