//! The rows of `inbox`: the conversations of a user, with the newest message of each.

use scylla::response::PagingState;

use super::session::Live;
use super::tails::Inbox;
use super::{InboxRow, bits, from_bits};
use crate::store::StoreError;

/// Rows at a time, 24 B each.
const PAGE_ROWS: usize = 5_000;

/// The newest `rows_max` of a user's conversations, newest first. Reads all that the user has.
pub(super) async fn read(
    live: &Live,
    user_id: u64,
    rows_max: usize,
) -> Result<Vec<InboxRow>, StoreError> {
    let mut newest: Vec<InboxRow> = Vec::new();
    let mut left = Some(PagingState::start());
    while let Some(state) = left {
        let (page, next) = live
            .page::<(i64, i64, i64)>(
                &live.statements.inbox,
                (bits(user_id),),
                &[user_id],
                PAGE_ROWS,
                state,
            )
            .await?;
        left = next;
        let parse = |(conversation_id, last_seq, last_message_id)| InboxRow {
            conversation_id: from_bits(conversation_id),
            last_seq: from_bits(last_seq),
            last_message_id: from_bits(last_message_id),
        };
        newest.extend(page.into_iter().map(parse));
        newest.sort_unstable_by_key(|row| std::cmp::Reverse(row.newest_id()));
        newest.truncate(rows_max);
    }
    Ok(newest)
}

/// Writes the row of one member.
pub(super) async fn write(
    live: &Live,
    user_id: u64,
    conversation_id: u64,
    inbox: &Inbox,
) -> Result<(), StoreError> {
    let values = (
        bits(user_id),
        bits(conversation_id),
        bits(inbox.last_seq),
        bits(inbox.last_message_id),
        inbox.timestamp,
    );
    live.write(&live.statements.put_inbox, values).await
}
