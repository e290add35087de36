//! The 10-day bucket of a message: a part of its key in the store, so that a conversation's
//! partition stays bounded there. A function of the message id alone, so a page needs no lookup.

use crate::ids;

/// How long a bucket is.
pub const BUCKET_MS: u64 = 10 * 24 * 60 * 60 * 1_000;

/// The bucket of a message, 0 from 2025-01-01. Never falls while message ids grow.
pub fn of_message(message_id: u64) -> u32 {
    let ms = ids::unix_ms(message_id) - ids::EPOCH_MS;
    u32::try_from(ms / BUCKET_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EPOCH_MS, Snowflake};

    #[test]
    fn a_bucket_is_ten_days() {
        let mut ids = Snowflake::new(3, 0);
        assert_eq!(of_message(ids.next_id(EPOCH_MS)), 0);
        assert_eq!(of_message(ids.next_id(EPOCH_MS + BUCKET_MS - 1)), 0);
        assert_eq!(of_message(ids.next_id(EPOCH_MS + BUCKET_MS)), 1);
        assert_eq!(of_message(ids.next_id(EPOCH_MS + 100 * BUCKET_MS)), 100);
        assert!(of_message(u64::MAX >> 1) < u32::MAX);
    }
}
