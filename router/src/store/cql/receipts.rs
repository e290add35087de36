//! The rows of `receipts`: up to where a device has each conversation.
//!
//! The greatest seq of a row must stay, and a later writing of the same seq must let it live for longer,
//! whoever writes and however late a write arrives. So the write time is the seq, with the day in the
//! bits below it: a lower seq always loses, and the same seq of a later day wins. (Of the same day either
//! may win: the row lives for a day less at worst.) Where a row has run out, its write time keeps out
//! lower seqs until compaction has dropped it: messages come again until then.

use super::session::Live;
use super::{bits, from_bits};
use crate::ids::EPOCH_MS;
use crate::store::{RECEIPT_TTL_MS, Receipt, Received, StoreError};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Days since 2025: until the year 2204.
const DAY_BITS: u32 = 16;
/// What of a seq a write time holds. ScyllaDB refuses write times that lie days ahead; as microseconds
/// after 1970 that is the case from 17 thousand million messages in one conversation.
const SEQ_MAX: u64 = (1 << (63 - DAY_BITS)) - 1;

fn timestamp(seq: u64, now_ms: u64) -> i64 {
    let day = now_ms.saturating_sub(EPOCH_MS) / DAY_MS;
    bits((seq.min(SEQ_MAX) << DAY_BITS) | day.min((1 << DAY_BITS) - 1))
}

pub(super) async fn write(live: &Live, receipt: &Receipt, now_ms: u64) -> Result<(), StoreError> {
    let values = (
        bits(receipt.user_id),
        receipt.device_id.cast_signed(),
        bits(receipt.conversation_id),
        bits(receipt.seq),
        timestamp(receipt.seq, now_ms),
    );
    live.write(&live.statements.put_receipt, values).await
}

type Row = (i64, i64, Option<i32>);

/// What a device has received of some conversations.
pub(super) async fn read(
    live: &Live,
    (user_id, device_id): (u64, u32),
    conversation_ids: &[u64],
) -> Result<Vec<Received>, StoreError> {
    let ids: Vec<i64> = conversation_ids.iter().map(|&id| bits(id)).collect();
    let values = (bits(user_id), device_id.cast_signed(), ids);
    let key = [user_id, u64::from(device_id)];
    let rows = live
        .rows::<Row>(&live.statements.receipts, values, &key)
        .await?;
    let received = |(conversation_id, seq, ttl_s): Row| {
        let left_ms = ttl_s.map_or(0, |s| 1_000 * u64::from(s.cast_unsigned()));
        Received {
            conversation_id: from_bits(conversation_id),
            seq: from_bits(seq),
            age_ms: RECEIPT_TTL_MS.saturating_sub(left_ms),
        }
    };
    Ok(rows.into_iter().map(received).collect())
}

/// Whether a device has received anything.
pub(super) async fn has_any(
    live: &Live,
    (user_id, device_id): (u64, u32),
) -> Result<bool, StoreError> {
    let values = (bits(user_id), device_id.cast_signed());
    let key = [user_id, u64::from(device_id)];
    let row = live
        .row::<(i64,)>(&live.statements.receipt, values, &key)
        .await?;
    Ok(row.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greater_seq_wins_and_then_a_later_day() {
        let day = |n: u64| EPOCH_MS + n * DAY_MS;
        assert!(timestamp(8, day(0)) > timestamp(7, day(9_000)));
        assert!(timestamp(7, day(2)) > timestamp(7, day(1)));
        assert_eq!(timestamp(7, day(1)), timestamp(7, day(2) - 1));
        // Never below zero, and no more than the next seq, whatever the clock says.
        assert!(timestamp(u64::MAX, u64::MAX) > timestamp(1, 0));
        assert!(timestamp(1, u64::MAX) < timestamp(2, 0));
        // A busy conversation's are far from what a server takes for the future (about 2^50 in 2025).
        assert!(timestamp(1 << 33, day(20_000)) < 1 << 50);
    }
}
