//! The rows of `inbox`: the conversations of a user, with the newest message of each.

use std::collections::HashMap;

use scylla::response::PagingState;

use super::session::Live;
use super::tails::Inbox;
use super::{bits, from_bits};
use crate::store::{InboxRow, StoreError};

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
        let (rows, next) = page(live, user_id, state).await?;
        left = next;
        newest.extend(rows);
        newest.sort_unstable_by_key(|row| std::cmp::Reverse(newest_id(row)));
        newest.truncate(rows_max);
    }
    Ok(newest)
}

/// What inboxes are ordered by: the newest message, or the conversation itself where it has none. Both
/// ids begin with their time.
fn newest_id(row: &InboxRow) -> u64 {
    row.last_message_id.max(row.conversation_id)
}

/// The rows of a user's conversations with a message above the seq in `received`.
pub(super) async fn unread(
    live: &Live,
    user_id: u64,
    received: &HashMap<u64, u64>,
) -> Result<Vec<InboxRow>, StoreError> {
    let mut unread = Vec::new();
    let mut left = Some(PagingState::start());
    while let Some(state) = left {
        let (rows, next) = page(live, user_id, state).await?;
        left = next;
        unread.extend(rows.into_iter().filter(|row| row.is_above(received)));
    }
    Ok(unread)
}

async fn page(
    live: &Live,
    user_id: u64,
    state: PagingState,
) -> Result<(Vec<InboxRow>, Option<PagingState>), StoreError> {
    let query = &live.statements.inbox;
    let (rows, next) = live
        .page::<(i64, i64, i64)>(query, (bits(user_id),), &[user_id], PAGE_ROWS, state)
        .await?;
    let parse = |(conversation_id, last_seq, last_message_id)| InboxRow {
        conversation_id: from_bits(conversation_id),
        last_seq: from_bits(last_seq),
        last_message_id: from_bits(last_message_id),
    };
    Ok((rows.into_iter().map(parse).collect(), next))
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
