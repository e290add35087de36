//! How many bytes connections hold: the sum, and who holds much, by size.
//!
//! Small holders are in the sum only. A large one stands in the class of its size, of which each is twice as wide as
//! the one before it: so one of the largest is found without a look at the others, and a holder that grows or
//! shrinks is moved only where its size doubles or halves.

use indexmap::IndexSet;

use crate::ConnId;
use crate::limits::{HOLDER_BYTES_MIN, HOLDER_CLASSES};

/// See the module. Of one kind of bytes on one shard.
#[derive(Debug, Default)]
pub struct Holders {
    bytes: u64,
    classes: [IndexSet<ConnId>; HOLDER_CLASSES],
    /// Who is looked at next in a class.
    next: usize,
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

    /// One of those who hold most: nobody holds twice as much. Another one each time, where there are several.
    /// None where nobody holds [`HOLDER_BYTES_MIN`] bytes.
    pub fn largest(&mut self) -> Option<ConnId> {
        let class = self.classes.iter().rev().find(|class| !class.is_empty())?;
        self.next = self.next.wrapping_add(1);
        class.get_index(self.next % class.len()).copied()
    }

    /// What a storm has blown up goes back.
    fn shrink(&mut self, class: usize) {
        let class = &mut self.classes[class];
        if class.is_empty() && class.capacity() > 1_024 {
            *class = IndexSet::new();
        }
    }
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
        assert_eq!(holders.largest(), None, "a small one");
        holders.change(conn(2), 0, 5 * HOLDER_BYTES_MIN);
        holders.change(conn(3), 0, 7 * HOLDER_BYTES_MIN);
        holders.change(conn(4), 0, 2 * HOLDER_BYTES_MIN);
        let found: std::collections::BTreeSet<_> =
            (0..10).filter_map(|_| holders.largest()).collect();
        assert_eq!(found, [conn(2), conn(3)].into(), "of one class");
        assert_eq!(holders.bytes(), 15 * HOLDER_BYTES_MIN as u64 - 1);
        holders.change(conn(2), 5 * HOLDER_BYTES_MIN, 0);
        holders.change(conn(3), 7 * HOLDER_BYTES_MIN, 10);
        assert_eq!(holders.largest(), Some(conn(4)));
        holders.change(conn(1), HOLDER_BYTES_MIN - 1, usize::MAX / 4);
        assert_eq!(
            holders.largest(),
            Some(conn(1)),
            "the last class has no end"
        );
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
