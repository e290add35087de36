//! Conversations that are on their way, by their members: each is a row, for which everybody waits who sends
//! after it. So each user has a share of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Members of conversations that one user is opening, and that all are: some ms of the store's time, and less
/// than a second.
const OWN_MAX: usize = 2_048;
const ALL_MAX: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OpeningShare {
    by_user: HashMap<u64, usize>,
    all: usize,
}

impl OpeningShare {
    /// Whether a user may open a conversation of so many members; one at a time in any case.
    pub(super) fn has_room(&self, user_id: u64, members: usize) -> bool {
        let own = self.by_user.get(&user_id).copied().unwrap_or(0);
        let fits = |rows: usize, most| rows == 0 || rows + members <= most;
        fits(own, OWN_MAX) && fits(self.all, ALL_MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.by_user.is_empty()
    }

    pub(super) fn begin(&mut self, user_id: u64, members: usize) {
        *self.by_user.entry(user_id).or_default() += members;
        self.all += members;
    }

    pub(super) fn end(&mut self, user_id: u64, members: usize) {
        self.all = self.all.saturating_sub(members);
        if let Entry::Occupied(mut own) = self.by_user.entry(user_id) {
            let left = own.get().saturating_sub(members);
            if left == 0 {
                own.remove();
            } else {
                own.insert(left);
            }
        }
    }
}
