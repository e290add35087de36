//! Members of conversations, kept in memory in front of PostgreSQL.
//!
//! They never change (`rookery.v1` has no message that changes them), so what was found stays true.
//! What was not found is not kept: the conversation may be opened the next moment, on another node, and
//! only its record in the log tells this one; with it the members are learnt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::generations::Generations;

/// Members, and what their conversations count, up to twice as many: 8 B each.
const WEIGHT_MAX: usize = 1_000_000;
/// What a conversation counts beside its members.
const CONVERSATION_WEIGHT: usize = 12;

/// See the module.
pub(super) struct Members {
    cached: Mutex<Generations<u64, Arc<[u64]>>>,
}

impl Members {
    pub(super) fn new() -> Members {
        Members {
            cached: Mutex::new(Generations::new(WEIGHT_MAX)),
        }
    }

    /// What is known of a conversation here.
    pub(super) fn find(&self, conversation_id: u64) -> Option<Arc<[u64]>> {
        self.cached()
            .hit(conversation_id)
            .map(|found| Arc::clone(found))
    }

    /// Keeps what was found, or written, or read in the log.
    pub(super) fn learn(&self, conversation_id: u64, members: Arc<[u64]>) {
        let weight = members.len() + CONVERSATION_WEIGHT;
        let mut cached = self.cached();
        cached.turn();
        cached.insert(conversation_id, members, weight);
    }

    fn cached(&self) -> MutexGuard<'_, Generations<u64, Arc<[u64]>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
