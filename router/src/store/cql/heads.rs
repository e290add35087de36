//! The rows of `heads`: how far a conversation is, and what its next message's place depends on.

use super::session::Live;
use super::tail::{Part, Tail};
use super::{bits, fault, from_bits};
use crate::sequencer::Head;
use crate::store::StoreError;

type Row = (i64, i64, i32, i32, i32, i64, i64, i64, i64);

/// A conversation's stored tail; the default one where it has none.
pub(super) async fn read(live: &Live, conversation_id: u64) -> Result<Tail, StoreError> {
    let row = live
        .row::<Row>(
            &live.statements.tail,
            (bits(conversation_id),),
            &[conversation_id],
        )
        .await?;
    row.map_or(Ok(Tail::default()), |row| {
        parse(row).ok_or_else(|| fault::damaged("heads", &[conversation_id]))
    })
}

fn parse(row: Row) -> Option<Tail> {
    let (last_seq, next_offset, bucket, sub, rows, bytes, first_id, last_id, mark_id) = row;
    Some(Tail {
        head: Head {
            last_seq: from_bits(last_seq),
            next_offset: from_bits(next_offset),
        },
        part: Part::parse(bucket, sub)?,
        part_rows: u32::try_from(rows).ok()?,
        part_bytes: from_bits(bytes),
        part_first_id: from_bits(first_id),
        last_message_id: from_bits(last_id),
        mark_message_id: from_bits(mark_id),
    })
}

/// Writes a tail with the time of its last message, so that an older one never takes its place.
pub(super) async fn write(
    live: &Live,
    conversation_id: u64,
    tail: &Tail,
) -> Result<(), StoreError> {
    let Tail { head, part, .. } = tail;
    let (bucket, sub) = part.columns();
    let values = (
        bits(conversation_id),
        bits(head.last_seq),
        bits(head.next_offset),
        bucket,
        sub,
        i32::try_from(tail.part_rows).unwrap_or(i32::MAX),
        bits(tail.part_bytes),
        bits(tail.part_first_id),
        bits(tail.last_message_id),
        bits(tail.mark_message_id),
        bits(head.next_offset),
    );
    live.write(&live.statements.put_head, values).await
}
