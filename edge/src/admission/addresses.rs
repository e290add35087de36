//! Connections per source address, for all shards: a bounded table without locks.
//!
//! An entry is one 64-bit word, 44 bits of the address's hash and 20 bits of count, changed by
//! compare-and-swap. An address belongs to one bucket of eight entries (a cache line), so nothing is
//! ever chained or moved, and an entry whose count falls to 0 is free at once. Where all eight belong
//! to others the address is not limited: a table twice as large as the connections makes that rare,
//! and it is counted. Two shards that see an address for the first time in the same instant may each
//! begin an entry: then it may have up to twice the limit.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::seat::ENTRIES_MAX;

const BUCKET: usize = 8;
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A limit that an entry can count up to.
pub const LIMIT_MAX: u32 = COUNT_MASK as u32;

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It counts at this entry.
    At(u32),
    /// Its address has as many as allowed.
    Over,
    /// Its bucket is full of other addresses: not limited.
    Untracked,
}

/// See the module.
pub(super) struct Addresses {
    words: Box<[AtomicU64]>,
}

impl Addresses {
    /// For so many connections: 16 B each.
    pub(super) fn new(connections: u32) -> Self {
        let wanted = (connections as usize).saturating_mul(2).next_power_of_two();
        let words = wanted.clamp(BUCKET, ENTRIES_MAX.next_power_of_two() / 2);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts a connection of the address with this hash, which may have `limit` (up to [`LIMIT_MAX`]).
    pub(super) fn enter(&self, hash: u64, limit: u32) -> Counted {
        let limit = u64::from(limit.min(LIMIT_MAX));
        // The high bits choose the bucket, the low ones tell the addresses in it apart; 0 is free.
        let buckets = self.words.len() / BUCKET;
        let first = ((u128::from(hash) * buckets as u128) >> 64) as usize * BUCKET;
        let own = (hash << COUNT_BITS).max(1 << COUNT_BITS);
        let bucket = &self.words[first..first + BUCKET];
        for attempt in [own, 0] {
            for (at, word) in bucket.iter().enumerate() {
                let mut over = false;
                let counted = word.fetch_update(Relaxed, Relaxed, |word| {
                    let count = word & COUNT_MASK;
                    over = word & !COUNT_MASK == own && count >= limit;
                    let fits = word & !COUNT_MASK == attempt && !over;
                    fits.then_some(own | (count + 1))
                });
                if over {
                    return Counted::Over;
                }
                if counted.is_ok() {
                    return Counted::At((first + at) as u32);
                }
            }
        }
        Counted::Untracked
    }

    /// A connection that was counted at this entry is gone.
    pub(super) fn leave(&self, entry: u32) {
        if let Some(word) = self.words.get(entry as usize) {
            // Never fails: an entry is counted down as often as up.
            let _ = word.fetch_update(Relaxed, Relaxed, |word| match word & COUNT_MASK {
                0 => None,
                1 => Some(0),
                _ => Some(word - 1),
            });
        }
    }

    /// Addresses that have connections.
    #[cfg(test)]
    fn used(&self) -> usize {
        self.words
            .iter()
            .filter(|word| word.load(Relaxed) != 0)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As even as the keyed hash of the gate, and the same in every run (splitmix64).
    fn hash(address: u64) -> u64 {
        let mut hash = (address + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    #[test]
    fn an_address_has_as_many_as_allowed_and_what_leaves_makes_room() {
        let table = Addresses::new(1_000);
        let entries: Vec<Counted> = (0..4).map(|_| table.enter(hash(7), 3)).collect();
        let Counted::At(entry) = entries[0] else {
            panic!("{entries:?}");
        };
        assert_eq!(entries[..3], [Counted::At(entry); 3]);
        assert_eq!(entries[3], Counted::Over);
        assert!(
            matches!(table.enter(hash(8), 3), Counted::At(_)),
            "another one's"
        );
        table.leave(entry);
        assert_eq!(table.enter(hash(7), 3), Counted::At(entry));
        (0..3).for_each(|_| table.leave(entry));
        assert_eq!(table.used(), 1, "the entry of address 8");
        table.leave(entry);
        assert_eq!(table.used(), 1, "one time too many changes nothing");
    }

    #[test]
    fn a_table_as_large_as_the_connections_loses_few_addresses() {
        let table = Addresses::new(100_000);
        let seen: Vec<Counted> = (0..100_000)
            .map(|address| table.enter(hash(address), 1))
            .collect();
        let untracked = seen.iter().filter(|it| **it == Counted::Untracked).count();
        assert!(
            !seen.contains(&Counted::Over),
            "two addresses share an entry"
        );
        assert!(untracked < 1_000, "{untracked} of 100,000 are not limited");
        for counted in seen {
            if let Counted::At(entry) = counted {
                table.leave(entry);
            }
        }
        assert_eq!(table.used(), 0);
    }

    #[test]
    fn threads_agree_on_the_count() {
        let table = Addresses::new(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..10_000u64 {
                        if let Counted::At(entry) = table.enter(hash(round % 20), 1_000) {
                            table.leave(entry);
                        }
                    }
                });
            }
        });
        assert_eq!(table.used(), 0);
    }
}
