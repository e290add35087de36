//! What may be committed: per partition that this process consumes, how far the store has it and how
//! far the group was told. Pure; the consumer's thread commits.

use std::collections::HashMap;

/// Of one partition; offsets are of the first record that is not counted in.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The store has everything below.
    applied: u64,
    /// Told the group, perhaps not answered yet.
    told: u64,
    /// The group has it.
    committed: u64,
}

/// The partitions that this process consumes.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: HashMap<u32, Mark>,
}

impl Marks {
    /// The partition is consumed from here on; `committed` is what the group knows.
    pub(super) fn assign(&mut self, partition: u32, committed: u64) {
        let mark = Mark {
            applied: committed,
            told: committed,
            committed,
        };
        self.marks.insert(partition, mark);
    }

    /// It is not consumed here any more; gives what the store has and the group does not know.
    pub(super) fn unassign(&mut self, partition: u32) -> Option<u64> {
        let mark = self.marks.remove(&partition)?;
        (mark.applied > mark.committed).then_some(mark.applied)
    }

    pub(super) fn partitions(&self) -> Vec<u32> {
        self.marks.keys().copied().collect()
    }

    /// The store has everything below `offset`. Of a partition that is consumed elsewhere it says
    /// nothing.
    pub(super) fn applied(&mut self, partition: u32, offset: u64) {
        if let Some(mark) = self.marks.get_mut(&partition) {
            mark.applied = mark.applied.max(offset);
        }
    }

    /// Below it the store has everything, of a partition that is consumed here.
    pub(super) fn applied_below(&self, partition: u32) -> Option<u64> {
        self.marks.get(&partition).map(|mark| mark.applied)
    }

    /// What the group is to be told now; counts as told.
    pub(super) fn take_due(&mut self) -> Vec<(u32, u64)> {
        let due = self
            .marks
            .iter_mut()
            .filter(|(_, mark)| mark.applied > mark.told);
        due.map(|(partition, mark)| {
            mark.told = mark.applied;
            (*partition, mark.applied)
        })
        .collect()
    }

    /// The group has it.
    pub(super) fn committed(&mut self, partition: u32, offset: u64) {
        if let Some(mark) = self.marks.get_mut(&partition) {
            mark.committed = mark.committed.max(offset);
        }
    }

    /// The group did not take it: it is told again.
    pub(super) fn refused(&mut self, partition: u32) {
        if let Some(mark) = self.marks.get_mut(&partition) {
            mark.told = mark.committed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_consumed_here_is_told_and_never_backwards() {
        let mut marks = Marks::default();
        marks.applied(1, 50);
        assert_eq!(marks.take_due(), [], "not consumed here");
        marks.assign(1, 10);
        assert_eq!(marks.take_due(), [], "the group knows");
        marks.applied(1, 7);
        assert_eq!(marks.take_due(), [], "backwards");
        marks.applied(1, 12);
        assert_eq!(marks.take_due(), [(1, 12)]);
        assert_eq!(marks.take_due(), [], "told already");
    }

    #[test]
    fn what_the_group_refused_is_told_again() {
        let mut marks = Marks::default();
        marks.assign(1, 0);
        marks.applied(1, 5);
        assert_eq!(marks.take_due(), [(1, 5)]);
        marks.refused(1);
        assert_eq!(marks.take_due(), [(1, 5)]);
        marks.committed(1, 5);
        marks.refused(1);
        assert_eq!(marks.take_due(), []);
    }

    #[test]
    fn a_partition_that_goes_leaves_what_is_still_to_be_committed() {
        let mut marks = Marks::default();
        marks.assign(1, 0);
        marks.assign(2, 0);
        marks.applied(1, 5);
        // Told is not enough: the answer is still under way.
        assert_eq!(marks.take_due(), [(1, 5)]);
        assert_eq!(marks.unassign(1), Some(5));
        assert_eq!(marks.unassign(2), None);
        assert_eq!(marks.partitions(), [0; 0]);
        marks.applied(1, 9);
        assert_eq!(marks.take_due(), []);
    }
}
