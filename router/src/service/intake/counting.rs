//! How many conversations users have, counted once and kept: a user's list may be long. Of a store on other hosts
//! the authority over members counts.

use super::Intake;
use crate::admission::{Conversations, Refusal};
use crate::record::Opened;

impl Intake {
    /// Whether a conversation with these members may be opened.
    pub(super) fn check_conversations(
        &mut self,
        opener: u64,
        members: &[u64],
    ) -> Result<(), Refusal> {
        let limits = self.config.conversations;
        if limits.is_none() {
            return Ok(());
        }
        self.conversations.turn();
        let has = self.conversations_of(opener)?;
        limits.check_opener(has)?;
        for &user_id in members.iter().filter(|&&it| it != opener) {
            let has = self.conversations_of(user_id)?;
            limits.check_member(user_id, has)?;
        }
        Ok(())
    }

    /// It was given to the log: the store does not have it yet.
    pub(super) fn count_opened(&mut self, opened: &Opened) {
        for &user_id in &opened.members {
            if let Some(has) = self.conversations.hit(user_id) {
                has.all += 1;
                has.opened += usize::from(user_id == opened.opener_user_id);
            }
        }
    }

    fn conversations_of(&mut self, user_id: u64) -> Result<Conversations, Refusal> {
        if let Some(has) = self.conversations.hit(user_id) {
            return Ok(*has);
        }
        let rows_max = self.config.conversations.rows_max();
        let has = self.store.count_conversations(user_id, rows_max)?;
        self.conversations.insert(user_id, has, 1);
        Ok(has)
    }
}
