//! A set of offsets as disjoint ranges, for what of a stream is acknowledged, lost or there.
//!
//! Invariant: ranges are in order, not empty, and do not touch.

use std::ops::Range;

/// The ranges. Who fills it from outside bounds how many there are ([`Ranges::count`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ranges: Vec<Range<u64>>,
}

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    pub(crate) fn insert(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        // Those that touch the new one become part of it.
        let from = self.ranges.partition_point(|range| range.end < new.start);
        let to = self.ranges.partition_point(|range| range.start <= new.end);
        let merged = match self.ranges.get(from..to) {
            Some([first, ..]) => {
                let last = &self.ranges[to - 1];
                first.start.min(new.start)..last.end.max(new.end)
            }
            _ => new,
        };
        self.ranges.splice(from..to, [merged]);
    }

    pub(crate) fn remove(&mut self, gone: Range<u64>) {
        if gone.is_empty() {
            return;
        }
        let from = self.ranges.partition_point(|range| range.end <= gone.start);
        let to = self.ranges.partition_point(|range| range.start < gone.end);
        if from >= to {
            return;
        }
        let before = self.ranges[from].start..gone.start;
        let after = gone.end..self.ranges[to - 1].end;
        let left = [before, after]
            .into_iter()
            .filter(|range| !range.is_empty());
        self.ranges.splice(from..to, left.collect::<Vec<_>>());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.ranges.iter()
    }

    /// Takes at most `len` from the front.
    pub(crate) fn take_first(&mut self, len: u64) -> Option<Range<u64>> {
        let first = self.ranges.first()?.clone();
        let taken = first.start..first.end.min(first.start.saturating_add(len));
        self.remove(taken.clone());
        Some(taken)
    }

    /// The end of the range that holds `offset`.
    pub(crate) fn end_from(&self, offset: u64) -> Option<u64> {
        let at = self.ranges.partition_point(|range| range.end <= offset);
        let range = self.ranges.get(at)?;
        (range.start <= offset).then_some(range.end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..60, 0_u64..12), 0..60),
        ) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (insert, start, len) in steps {
                if insert {
                    ranges.insert(start..start + len);
                    set.extend(start..start + len);
                } else {
                    ranges.remove(start..start + len);
                    set.retain(|at| !(start..start + len).contains(at));
                }
                let held: Vec<u64> = ranges.ranges.iter().cloned().flatten().collect();
                prop_assert_eq!(&held, &set.iter().copied().collect::<Vec<_>>());
                prop_assert!(ranges.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
            let mut taken = Vec::new();
            while let Some(range) = ranges.take_first(5) {
                taken.extend(range);
            }
            prop_assert_eq!(taken, set.into_iter().collect::<Vec<_>>());
        }
    }
}
