//! Blocks: the partitions of a conversation's messages. A function of the seq alone.
//!
//! Seqs are dense, so arithmetic bounds a partition: Cassandra's advice is to stay under 100 MB, ScyllaDB warns
//! at 1,000 MB and 100,000 rows.

use rookery_wire::proto::PAYLOAD_BYTES_MAX;

/// Seqs of one.
pub(super) const SEQS: u64 = 1_024;

/// What a row takes beside its payload, about.
const ROW_BYTES: u64 = 160;
const _: () = assert!(SEQS * (PAYLOAD_BYTES_MAX as u64 + ROW_BYTES) < 100_000_000);

/// The greatest seq that can be: blocks are an int.
pub(super) const SEQ_MAX: u64 = SEQS * i32::MAX as u64;

/// The block of a seq, which is 1 to [`SEQ_MAX`].
pub(super) fn of(seq: u64) -> i32 {
    i32::try_from((seq.max(1) - 1) / SEQS).unwrap_or(i32::MAX)
}

/// The last seq of a block.
pub(super) fn end(block: i32) -> u64 {
    (u64::from(block.cast_unsigned()) + 1) * SEQS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_one_another() {
        assert_eq!([1, 1_024, 1_025, 2_048].map(of), [0, 0, 1, 1]);
        assert_eq!((end(0), end(1)), (1_024, 2_048));
        assert_eq!(
            (of(0), of(u64::MAX), of(SEQ_MAX)),
            (0, i32::MAX, i32::MAX - 1)
        );
    }
}
