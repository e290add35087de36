//! Heads: how far a conversation is, from the statics of its newest block.
//!
//! A block has a head from its first message on, for ever, and a block's first message is written after the
//! last one of the block before was acked. So "has a head" falls once along the blocks, and the search ends
//! only at a head that is not full, or full with nothing behind it. The hint in block 0, which is written beside
//! the first message of each block and may lag, decides how many reads that takes, never what comes of it: one
//! up to 1,024 messages, two beyond, one more at a block's end.

use scylla::response::PagingState;

use super::session::Live;
use super::{bits, block, from_bits};
use crate::log::Offset;
use crate::sequencer::Head;
use crate::store::StoreError;

/// Places at a time, 16 B each.
const PAGE_ROWS: usize = 500;

/// A conversation's head, and its block; zeros where it has no message.
pub(super) async fn read(live: &Live, conversation_id: u64) -> Result<Head, StoreError> {
    let row = live
        .row::<(Option<i64>, Option<i64>, Option<i32>)>(
            &live.statements.first_head,
            (bits(conversation_id),),
            &[conversation_id],
        )
        .await?;
    let Some((last_seq, next_offset, newest)) = row else {
        return Ok(Head::default());
    };
    let first = head((last_seq, next_offset)).unwrap_or_default();
    let mut newest = newest.unwrap_or(0).max(0);
    let mut found = match newest {
        0 => Some(first),
        hinted => of_block(live, conversation_id, hinted).await?,
    };
    while found.is_none() && newest > 1 {
        newest -= 1;
        found = of_block(live, conversation_id, newest).await?;
    }
    let mut head = match found {
        Some(head) => head,
        None => {
            newest = 0;
            first
        }
    };
    while head.last_seq == block::end(newest) {
        let Some(next) = of_block(live, conversation_id, newest + 1).await? else {
            break;
        };
        newest += 1;
        head = next;
    }
    Ok(head)
}

async fn of_block(
    live: &Live,
    conversation_id: u64,
    block: i32,
) -> Result<Option<Head>, StoreError> {
    let row = live
        .row::<(Option<i64>, Option<i64>)>(
            &live.statements.head,
            (bits(conversation_id), block),
            &[conversation_id],
        )
        .await?;
    Ok(row.and_then(head))
}

/// From the statics of a block.
pub(super) fn head((last_seq, next_offset): (Option<i64>, Option<i64>)) -> Option<Head> {
    Some(Head {
        last_seq: from_bits(last_seq?),
        next_offset: from_bits(next_offset?),
    })
}

/// The head as it was below an offset: the greatest seq whose record lies below it.
pub(super) async fn base(
    live: &Live,
    conversation_id: u64,
    next: Offset,
) -> Result<Head, StoreError> {
    let head = read(live, conversation_id).await?;
    if head.next_offset <= next.0 {
        return Ok(head);
    }
    // The store is ahead of what is counted again: back past those that lie at or above the offset.
    for block in (0..=block::of(head.last_seq)).rev() {
        let mut left = Some(PagingState::start());
        while let Some(state) = left.take() {
            let (places, more) = live
                .page::<(i64, i64)>(
                    &live.statements.places,
                    (bits(conversation_id), block),
                    &[conversation_id],
                    PAGE_ROWS,
                    state,
                )
                .await?;
            left = more;
            for (seq, offset) in places {
                if from_bits(offset) < next.0 {
                    return Ok(Head {
                        last_seq: from_bits(seq),
                        next_offset: from_bits(offset) + 1,
                    });
                }
            }
        }
    }
    Ok(Head::default())
}
