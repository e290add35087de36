//! Ids and stamps of what this node admits, and how far they are, for whoever makes that durable.
//!
//! A node must not give an id twice, also after a restart behind which the clock was set back. An embedded
//! log has every id that was given in it. Of a log that others consume this node sees a part, so the
//! greatest that it gave is stored from here. A crash loses those since the last time that it was stored;
//! they are given again only where the clock was set back by that very moment too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hlc::Hlc;
use crate::ids::{ConversationIds, Snowflake};
use crate::store::Position;

/// The greatest that were given; zeros before the first.
#[derive(Debug, Default)]
pub(super) struct Given {
    id: AtomicU64,
    hlc: AtomicU64,
}

impl Given {
    /// As a store keeps it.
    pub(super) fn position(&self) -> Position {
        Position {
            next_offset: 0,
            last_id: self.id.load(Ordering::Relaxed),
            last_hlc: self.hlc.load(Ordering::Relaxed),
        }
    }
}

/// What a new message or conversation is known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) id: u64,
    pub(super) hlc: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stamps {
    ids: Snowflake,
    conversations: ConversationIds,
    hlc: Hlc,
    given: Arc<Given>,
}

impl Stamps {
    /// Of a node; all greater than a stored position.
    pub(super) fn new(node_id: u16, stored: Position) -> Stamps {
        Stamps {
            ids: Snowflake::new(node_id, stored.last_id),
            conversations: ConversationIds::new(node_id, stored.last_id),
            hlc: Hlc::new(stored.last_hlc),
            given: Arc::default(),
        }
    }

    /// How far they are, from now on.
    pub(super) fn given(&self) -> Arc<Given> {
        Arc::clone(&self.given)
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
        let stamp = Stamp {
            id,
            hlc: self.hlc.tick(now_ms),
        };
        self.given.id.fetch_max(stamp.id, Ordering::Relaxed);
        self.given.hlc.store(stamp.hlc, Ordering::Relaxed);
        stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EPOCH_MS;

    #[test]
    fn what_was_given_is_told_and_the_next_ones_are_greater_though_the_clock_was_set_back() {
        let mut stamps = Stamps::new(7, Position::default());
        assert_eq!(stamps.given().position(), Position::default());
        let last = stamps.next(EPOCH_MS + 1_000_000);
        let stored = stamps.given().position();
        assert_eq!((stored.last_id, stored.last_hlc), (last.id, last.hlc));
        let next = Stamps::new(7, stored).next(EPOCH_MS + 500_000);
        assert!(
            next.id > last.id && next.hlc > last.hlc,
            "{next:?} {last:?}"
        );
    }
}
