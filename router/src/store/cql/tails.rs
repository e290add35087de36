//! The tails of the conversations that this process consumes, in memory: what `head` answers from, and
//! what is to be written at the next `persist`.
//!
//! The invariant: a tail is here only once its messages are stored, and leaves only when it is stored
//! itself, or when all are forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::tail::Tail;
use crate::generations::Generations;
use crate::store::InboxRow;

/// Tails kept, up to twice as many: about 100 B each.
const TAILS_MAX: usize = 100_000;
/// Conversations of more members have no inbox rows: a message would cost one write per member.
pub(in crate::store) const INBOX_MEMBERS_MAX: usize = 256;

/// The rows of a conversation in its members' inboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inbox {
    pub(super) members: Arc<[u64]>,
    pub(super) last_seq: u64,
    pub(super) last_message_id: u64,
    /// Their write time.
    pub(super) timestamp: i64,
}

/// What a persist writes.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) tails: Vec<(u64, Tail)>,
    pub(super) inboxes: Vec<(u64, Inbox)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tails {
    kept: Generations<u64, Tail>,
    dirty: HashSet<u64>,
    inboxes: HashMap<u64, Inbox>,
}

impl Tails {
    pub(super) fn new() -> Tails {
        Tails {
            kept: Generations::new(TAILS_MAX),
            dirty: HashSet::new(),
            inboxes: HashMap::new(),
        }
    }

    pub(super) fn find(&mut self, conversation_id: u64) -> Option<Tail> {
        self.kept.hit(conversation_id).copied()
    }

    /// The conversation's messages up to the tail are stored.
    pub(super) fn advance(&mut self, conversation_id: u64, tail: Tail) {
        self.kept.insert(conversation_id, tail, 1);
        self.dirty.insert(conversation_id);
    }

    /// The inbox rows of a conversation are to become these, unless later ones are to be written.
    pub(super) fn deliver(&mut self, conversation_id: u64, inbox: Inbox) {
        let later = self.inboxes.get(&conversation_id);
        let is_late = later.is_some_and(|later| later.timestamp > inbox.timestamp);
        if inbox.members.len() <= INBOX_MEMBERS_MAX && !is_late {
            self.inboxes.insert(conversation_id, inbox);
        }
    }

    /// The inbox rows of a user that are to be written.
    pub(super) fn inbox_of(&self, user_id: u64) -> Vec<InboxRow> {
        let of_user = |inbox: &Inbox| inbox.members.binary_search(&user_id).is_ok();
        let row = |(&conversation_id, inbox): (&u64, &Inbox)| InboxRow {
            conversation_id,
            last_seq: inbox.last_seq,
            last_message_id: inbox.last_message_id,
        };
        let unwritten = self.inboxes.iter().filter(|(_, inbox)| of_user(inbox));
        unwritten.map(row).collect()
    }

    pub(super) fn unwritten(&mut self) -> Unwritten {
        let kept = &mut self.kept;
        let tails = self
            .dirty
            .iter()
            .filter_map(|&id| Some((id, *kept.hit(id)?)));
        Unwritten {
            tails: tails.collect(),
            inboxes: self
                .inboxes
                .iter()
                .map(|(id, inbox)| (*id, inbox.clone()))
                .collect(),
        }
    }

    /// These were written: what has not changed since is clean. Lets go of tails that were not used
    /// lately, which are clean: what is dirty was used when it was handed out to be written, or since.
    pub(super) fn wrote(&mut self, written: &Unwritten) {
        for (id, tail) in &written.tails {
            if self.find(*id) == Some(*tail) {
                self.dirty.remove(id);
            }
        }
        for (id, inbox) in &written.inboxes {
            if self.inboxes.get(id) == Some(inbox) {
                self.inboxes.remove(id);
            }
        }
        self.kept.turn();
    }

    pub(super) fn forget(&mut self) {
        *self = Tails::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequencer::Head;

    fn tail(last_seq: u64) -> Tail {
        let head = Head {
            last_seq,
            next_offset: 10 + last_seq,
        };
        Tail {
            head,
            ..Tail::default()
        }
    }

    #[test]
    fn what_changed_while_it_was_being_written_stays_unwritten() {
        let mut tails = Tails::new();
        tails.advance(1, tail(1));
        tails.advance(2, tail(1));
        let written = tails.unwritten();
        assert_eq!(written.tails.len(), 2);
        tails.advance(2, tail(2));
        tails.wrote(&written);
        assert_eq!(tails.unwritten().tails, [(2, tail(2))]);
        assert_eq!(tails.find(1), Some(tail(1)));
        tails.forget();
        assert_eq!(tails.find(1), None);
        assert!(tails.unwritten().tails.is_empty());
    }

    #[test]
    fn large_conversations_have_no_inbox_rows() {
        let mut tails = Tails::new();
        for members in [INBOX_MEMBERS_MAX, INBOX_MEMBERS_MAX + 1] {
            let inbox = Inbox {
                members: (0..members as u64).collect(),
                last_seq: 1,
                last_message_id: 1,
                timestamp: 1,
            };
            tails.deliver(members as u64, inbox);
        }
        let inboxes = tails.unwritten().inboxes;
        assert_eq!(inboxes.len(), 1);
        assert_eq!(inboxes[0].0, INBOX_MEMBERS_MAX as u64);
    }
}
