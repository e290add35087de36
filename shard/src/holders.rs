//! How many bytes connections hold: the sum, and who holds much, by size.
//!
//! Small holders are in the sum only. A large one stands in the class of its size, of which each is twice as wide as
//! the one before it: so one of the largest is found without a look at the others, and a holder that grows or
//! shrinks is moved only where its size doubles or halves.

use indexmap::IndexSet;

use crate::ConnId;
use crate::limits::{HOLDER_BYTES_MIN, HOLDER_CLASSES};

/// So many of a class are compared.
const LOOKS: u64 = 8;

/// See the module. Of one kind of bytes on one shard.
#[derive(Debug, Default)]
pub struct Holders {
    bytes: u64,
    classes: [IndexSet<ConnId>; HOLDER_CLASSES],
    /// Looks so far.
    looks: u64,
}

impl Holders {
    /// A connection held `before` bytes and holds `after` now.
    pub fn change(&mut self, conn: ConnId, before: usize, after: usize) {
        self.bytes = self.bytes.saturating_sub(before as u64) + after as u64;
        let (from, to) = (class(before), class(after));
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.classes[from].swap_remove(&conn);
            self.shrink(from);
        }
        if let Some(to) = to {
            self.classes[to].insert(conn);
        }
    }

    /// What all hold together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of the largest class in which any has a rank, among [`LOOKS`] of it, others each time, the one of the highest:
    /// few that have a rank hold twice as much. None where nobody who holds [`HOLDER_BYTES_MIN`] bytes has one.
    pub fn largest<R: Ord>(&mut self, rank: impl Fn(ConnId) -> Option<R>) -> Option<ConnId> {
        let first = self.looks;
        self.looks = first.wrapping_add(LOOKS);
        self.classes.iter().rev().find_map(|class| {
            let ranked = (0..LOOKS).filter_map(|look| {
                let conn = *class.get_index(scattered(first.wrapping_add(look), class.len())?)?;
                Some((rank(conn)?, conn))
            });
            ranked.max().map(|(_, conn)| conn)
        })
    }

    /// What a storm has blown up goes back.
    fn shrink(&mut self, class: usize) {
        let class = &mut self.classes[class];
        if class.is_empty() && class.capacity() > 1_024 {
            *class = IndexSet::new();
        }
    }
}

/// A place in a class, another one for each look: not one after the other, since those who came together stand
/// together, and may all be without a rank. None where the class is empty.
fn scattered(look: u64, len: usize) -> Option<usize> {
    let mixed = look.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (mixed as usize).checked_rem(len)
}

/// None for a small holder.
fn class(bytes: usize) -> Option<usize> {
    let doublings = (bytes / HOLDER_BYTES_MIN).checked_ilog2()?;
    Some((doublings as usize).min(HOLDER_CLASSES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> ConnId {
        ConnId::from_u64(1 << 32 | u64::from(index))
    }

    #[test]
    fn the_largest_are_found_and_the_sum_is_kept() {
        let mut holders = Holders::default();
        holders.change(conn(1), 0, HOLDER_BYTES_MIN - 1);
        assert_eq!(holders.largest(Some), None, "a small one");
        holders.change(conn(2), 0, 5 * HOLDER_BYTES_MIN);
        holders.change(conn(3), 0, 7 * HOLDER_BYTES_MIN);
        holders.change(conn(4), 0, 2 * HOLDER_BYTES_MIN);
        let found = holders.largest(Some);
        assert!([Some(conn(2)), Some(conn(3))].contains(&found), "{found:?}");
        let rank_of_2 = |it| (it == conn(2)).then_some(0);
        assert_eq!(holders.largest(rank_of_2), Some(conn(2)));
        let rank_of_4 = |it| (it == conn(4)).then_some(0);
        assert_eq!(
            holders.largest(rank_of_4),
            Some(conn(4)),
            "in a class below"
        );
        assert_eq!(holders.largest(|_| None::<u64>), None);
        assert_eq!(holders.bytes(), 15 * HOLDER_BYTES_MIN as u64 - 1);
        holders.change(conn(2), 5 * HOLDER_BYTES_MIN, 0);
        holders.change(conn(3), 7 * HOLDER_BYTES_MIN, 10);
        assert_eq!(holders.largest(Some), Some(conn(4)));
        holders.change(conn(1), HOLDER_BYTES_MIN - 1, usize::MAX / 4);
        assert_eq!(
            holders.largest(Some),
            Some(conn(1)),
            "the last class has no end"
        );
    }

    #[test]
    fn others_are_looked_at_each_time() {
        let mut holders = Holders::default();
        for index in 0..100 {
            holders.change(conn(index), 0, HOLDER_BYTES_MIN);
        }
        let found: std::collections::BTreeSet<_> =
            (0..100).filter_map(|_| holders.largest(Some)).collect();
        assert!(found.len() > 10, "{found:?}");
        // Of a thousand of whom those with a rank came first, one is found each time.
        for index in 100..1_000 {
            holders.change(conn(index), 0, HOLDER_BYTES_MIN);
        }
        let first = |it: ConnId| (it.index() < 900).then_some(0);
        assert!((0..1_000).all(|_| holders.largest(first).is_some()));
    }

    #[test]
    fn a_class_that_is_empty_again_has_no_memory() {
        let mut holders = Holders::default();
        for index in 0..10_000 {
            holders.change(conn(index), 0, HOLDER_BYTES_MIN);
        }
        for index in 0..10_000 {
            holders.change(conn(index), HOLDER_BYTES_MIN, 0);
        }
        assert_eq!((holders.bytes(), holders.classes[0].capacity()), (0, 0));
    }
}
