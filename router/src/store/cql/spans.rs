//! The rows of `spans`: which partitions a conversation's messages lie in, and the ids of each.

use scylla::response::PagingState;

use super::session::Live;
use super::tail::{Part, Span};
use super::{bits, fault, from_bits};
use crate::store::StoreError;

/// Rows at a time: three years of a conversation that fills none.
const PAGE_ROWS: usize = 100;

type Row = (i32, i32, i64, i64);

fn parse(conversation_id: u64, row: Row) -> Result<Span, StoreError> {
    let (bucket, sub, first_message_id, first_seq) = row;
    let part =
        Part::parse(bucket, sub).ok_or_else(|| fault::damaged("spans", &[conversation_id]))?;
    Ok(Span {
        part,
        first_message_id: from_bits(first_message_id),
        first_seq: from_bits(first_seq),
    })
}

/// The spans of one bucket, the last one first.
pub(super) async fn of_bucket(
    live: &Live,
    conversation_id: u64,
    bucket: u32,
) -> Result<Vec<Span>, StoreError> {
    let (bucket, _) = Part { bucket, sub: 0 }.columns();
    let rows = live
        .rows::<Row>(
            &live.statements.spans_of,
            (bits(conversation_id), bucket),
            &[conversation_id],
        )
        .await?;
    rows.into_iter()
        .map(|row| parse(conversation_id, row))
        .collect()
}

/// A page of the spans up to a bucket, the last one first.
pub(super) async fn up_to(
    live: &Live,
    conversation_id: u64,
    bucket: u32,
    state: PagingState,
) -> Result<(Vec<Span>, Option<PagingState>), StoreError> {
    let (bucket, _) = Part { bucket, sub: 0 }.columns();
    let (rows, next) = live
        .page::<Row>(
            &live.statements.spans_to,
            (bits(conversation_id), bucket),
            &[conversation_id],
            PAGE_ROWS,
            state,
        )
        .await?;
    let spans: Result<_, _> = rows
        .into_iter()
        .map(|row| parse(conversation_id, row))
        .collect();
    Ok((spans?, next))
}

/// Writes a span, with the time of the message that it begins with.
pub(super) async fn write(
    live: &Live,
    conversation_id: u64,
    span: &Span,
    timestamp: i64,
) -> Result<(), StoreError> {
    let (bucket, sub) = span.part.columns();
    let values = (
        bits(conversation_id),
        bucket,
        sub,
        bits(span.first_message_id),
        bits(span.first_seq),
        timestamp,
    );
    live.write(&live.statements.put_span, values).await
}
