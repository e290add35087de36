//! What the log has not answered, by ticket.

use std::collections::VecDeque;

use super::pending::PendingKey;
use crate::log::Ticket;

/// A record that the log has not answered.
#[derive(Debug)]
pub(super) struct Queued {
    /// What it is.
    pub(super) key: PendingKey,
    /// Of the record.
    pub(super) bytes: usize,
}

/// Records by ticket. Tickets grow by one; a log of several partitions answers them in any order.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    first: Ticket,
    queued: VecDeque<Option<Queued>>,
    waiting: usize,
}

impl Tickets {
    /// Keeps a record under the next ticket.
    pub(super) fn push(&mut self, ticket: Ticket, queued: Queued) {
        if self.queued.is_empty() {
            self.first = ticket;
        }
        // The ticket of a record that the log did not take is given to the next one.
        let next = self.first + self.queued.len() as u64;
        debug_assert!(ticket == next || ticket + 1 == next, "one by one");
        if ticket < next {
            self.queued.pop_back();
        }
        self.queued.push_back(Some(queued));
        self.waiting += 1;
    }

    /// The record of a ticket, once.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Queued> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let taken = self.queued.get_mut(index)?.take()?;
        self.waiting -= 1;
        while let Some(None) = self.queued.front() {
            self.queued.pop_front();
            self.first += 1;
        }
        // Not at the back: the next ticket's place is after the last one's.
        Some(taken)
    }

    /// Whether the log has answered all.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}
