//! Handshakes begun per source address and second, for all shards: a bounded table without locks.
//!
//! Like the table of connections, but an entry is 32 bits of the address's hash, 16 bits of the second
//! and 16 bits of count, and is free as soon as its second is over. A window of one second lets a
//! burst of twice the limit through at its border: enough to stop a flood, and cheap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const BUCKET: usize = 8;

/// Entries: addresses that begin handshakes in the same second. 512 KiB.
const ENTRIES: usize = 1 << 16;

/// A limit that an entry can count up to.
pub const LIMIT_MAX: u32 = u16::MAX as u32;

/// What to do with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rated {
    /// Within the limit.
    Within,
    /// The address has begun as many as allowed in this second.
    Over,
    /// Its bucket is full of other addresses: not limited.
    Untracked,
}

/// See the module.
pub(super) struct Rates {
    words: Box<[AtomicU64]>,
}

impl Rates {
    /// Nobody has begun any.
    pub(super) fn new() -> Self {
        Self {
            words: (0..ENTRIES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts a handshake of the address with this hash in this second, in which it may begin `limit` (up to
    /// [`LIMIT_MAX`]).
    pub(super) fn count(&self, hash: u64, now_s: u64, limit: u32) -> Rated {
        let limit = u64::from(limit.min(LIMIT_MAX));
        let buckets = self.words.len() / BUCKET;
        let first = ((u128::from(hash) * buckets as u128) >> 64) as usize * BUCKET;
        let second = now_s & 0xffff;
        let own = hash << 32 | second << 16;
        let bucket = &self.words[first..first + BUCKET];
        // First its entry of this second, then one that is free.
        for of_its_own in [true, false] {
            for word in bucket {
                let mut over = false;
                let counted = word.fetch_update(Relaxed, Relaxed, |word| {
                    let count = word & 0xffff;
                    let is_own = word & !0xffff == own && count > 0;
                    let is_free = count == 0 || (word >> 16) & 0xffff != second;
                    over = is_own && count >= limit;
                    match (is_own, is_free) {
                        (true, _) if !over => Some(word + 1),
                        (false, true) if !of_its_own => Some(own | 1),
                        _ => None,
                    }
                });
                if over {
                    return Rated::Over;
                }
                if counted.is_ok() {
                    return Rated::Within;
                }
            }
        }
        Rated::Untracked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_again_in_the_next() {
        let rates = Rates::new();
        for second in [9, 10, 70_000, 10 + 65_536] {
            let counted: Vec<Rated> = (0..7).map(|_| rates.count(77, second, 5)).collect();
            assert_eq!(counted[..5], [Rated::Within; 5], "second {second}");
            assert_eq!(counted[5..], [Rated::Over; 2], "second {second}");
            assert_eq!(rates.count(78, second, 5), Rated::Within, "another address");
        }
    }

    #[test]
    fn a_flood_of_addresses_is_not_limited_and_passes() {
        let rates = Rates::new();
        // All of one bucket.
        let counted: Vec<Rated> = (1..=9).map(|address| rates.count(address, 5, 1)).collect();
        assert_eq!(counted[..8], [Rated::Within; 8]);
        assert_eq!(counted[8], Rated::Untracked);
        assert_eq!(
            rates.count(9, 6, 1),
            Rated::Within,
            "the next second has room"
        );
        assert_eq!(rates.count(9, 6, 1), Rated::Over);
    }
}
