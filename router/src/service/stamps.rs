//! Ids and stamps of what this node admits. In a form that shares its log a [`Permit`] says when they may be
//! given; an embedded log has every one that was given in it.

use std::sync::Arc;

use super::permit::Permit;
use crate::admission::Refusal;
use crate::hlc::Hlc;
use crate::ids::{self, ConversationIds, Snowflake};
use crate::log::Ticket;
use crate::store::Position;

/// What a new message or conversation is known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) id: u64,
    pub(super) hlc: u64,
}

/// See the module.
pub(super) struct Stamps {
    ids: Snowflake,
    conversations: ConversationIds,
    hlc: Hlc,
    permit: Option<Arc<Permit>>,
}

impl Stamps {
    /// Of a node; all greater than a stored position.
    pub(super) fn new(node_id: u16, stored: Position) -> Stamps {
        Stamps {
            ids: Snowflake::new(node_id, stored.last_id),
            conversations: ConversationIds::new(node_id, stored.last_id),
            hlc: Hlc::new(stored.last_hlc),
            permit: None,
        }
    }

    /// Of a node whose log others consume; all above the ceiling that it finds.
    pub(super) fn permitted(node_id: u16, permit: Arc<Permit>) -> Stamps {
        Stamps {
            permit: Some(Arc::clone(&permit)),
            ..Stamps::new(node_id, permit.ceiling())
        }
    }

    /// Whether a batch may be given some of this time. To be asked before.
    pub(super) fn check(&self, now_ms: u64) -> Result<(), Refusal> {
        self.permit
            .as_ref()
            .map_or(Ok(()), |permit| permit.check(now_ms))
    }

    /// A record is about to be appended.
    pub(super) fn appends(&self, ticket: Ticket) {
        if let Some(permit) = &self.permit {
            permit.appends(ticket);
        }
    }

    /// The next ones of a message.
    pub(super) fn next(&mut self, now_ms: u64) -> Stamp {
        let id = self.ids.next_id(now_ms);
        self.give(id, now_ms)
    }

    /// The next ones of a conversation, opened under an epoch.
    pub(super) fn open(&mut self, now_ms: u64, epoch: u8) -> Stamp {
        let id = self.conversations.next_id(now_ms, epoch);
        self.give(id, now_ms)
    }

    fn give(&mut self, id: u64, now_ms: u64) -> Stamp {
        let hlc = self.hlc.tick(now_ms);
        if let Some(permit) = &self.permit {
            permit.give(ids::unix_ms(id).max(hlc >> 16));
        }
        Stamp { id, hlc }
    }
}
