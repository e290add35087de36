//! How messages are found by seq: which partitions to scan and from where, by the marks around the seqs
//! that are wanted; and the messages gathered, until the run of seqs is whole.
//!
//! Pure. Seqs are dense but rows lie by message id, so a scan meets seqs out of order where nodes' clocks
//! differ; what a scan must miss has a mark of its own (`tail`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rookery_wire::proto::Deliver;

use super::tail::{MARK_EVERY, Part, Tail};
use crate::store::{Bound, Slice};

/// A scan goes on this many seqs past the wanted ones, for those that come a little late.
const LATE_MAX: u64 = 64;

/// One row of `marks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) message_id: u64,
    pub(super) part: Part,
}

/// The seqs of the marks that a [`Plan`] for `first` and so many more needs.
pub(super) fn window(first: u64, messages: usize) -> (u64, u64) {
    let block = (first - 1) / MARK_EVERY * MARK_EVERY + 1;
    let last = first.saturating_add(messages as u64 + LATE_MAX);
    // One block more: the block's own mark may lie in an older partition.
    (block.saturating_sub(MARK_EVERY).max(1), last)
}

/// Where to look for the messages from a seq on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Partitions, ascending, each from a message id on.
    pub(super) scans: Vec<(Part, u64)>,
    /// The marks of wanted seqs: for those that no scan meets.
    pub(super) points: Vec<Mark>,
}

impl Plan {
    /// By the marks of the [`window`] of `first`, ascending.
    pub(super) fn new(marks: &[Mark], first: u64) -> Plan {
        let mut plan = Plan::default();
        for mark in marks {
            match plan.scans.last_mut() {
                // Nearer to the first one wanted. A later one only where it came late: the writer takes it
                // for the start of scans of what follows it.
                Some((part, from)) if *part == mark.part => {
                    if (mark.seq - 1).is_multiple_of(MARK_EVERY) {
                        *from = match mark.seq <= first {
                            true => mark.message_id,
                            false => mark.message_id.min(*from),
                        };
                    }
                }
                // A message that came late: it lies in a partition that was over.
                Some((part, _)) if *part > mark.part => {}
                _ => {
                    // What came before the partition that was begun by then is not wanted.
                    if mark.seq <= first {
                        plan.scans.clear();
                    }
                    plan.scans.push((mark.part, mark.message_id));
                }
            }
            if mark.seq >= first {
                plan.points.push(*mark);
            }
        }
        plan
    }

    /// The part of it that is newer than a tail.
    pub(super) fn after(&self, tail: &Tail) -> Plan {
        let newer = tail.last_message_id.saturating_add(1);
        let mut scans = vec![(tail.part, newer)];
        for &(part, from) in &self.scans {
            match part.cmp(&tail.part) {
                Ordering::Less => {}
                Ordering::Equal => scans[0].1 = from.max(newer),
                Ordering::Greater => scans.push((part, from)),
            }
        }
        Plan {
            scans,
            points: Vec::new(),
        }
    }
}

/// The messages of a run of seqs, as they are found.
#[derive(Debug)]
pub(super) struct Gather {
    first: u64,
    bound: Bound,
    found: BTreeMap<u64, Deliver>,
    /// The first seq of the run that was not found yet, and the payload bytes before it.
    next: u64,
    bytes: usize,
    /// The greatest seq that this scan has met, wanted or not.
    greatest: u64,
}

impl Gather {
    pub(super) fn new(first: u64, bound: Bound) -> Gather {
        Gather {
            first,
            bound,
            found: BTreeMap::new(),
            next: first,
            bytes: 0,
            greatest: 0,
        }
    }

    /// Another scan begins.
    pub(super) fn rewind(&mut self) {
        self.greatest = 0;
    }

    /// One more than the page holds, to know whether there is more.
    pub(super) fn last(&self) -> u64 {
        self.first.saturating_add(self.bound.messages_max as u64)
    }

    pub(super) fn take(&mut self, message: Deliver) {
        self.greatest = self.greatest.max(message.seq);
        if (self.first..=self.last()).contains(&message.seq) {
            self.found.insert(message.seq, message);
        }
        while let Some(message) = self.found.get(&self.next) {
            self.bytes += message.payload.len();
            self.next += 1;
        }
    }

    /// Whether the run is as long as the page, and one message more.
    pub(super) fn is_full(&self) -> bool {
        self.next > self.last() || (self.next > self.first + 1 && self.bytes > self.bound.bytes_max)
    }

    /// Whether a scan has passed all that it is for.
    pub(super) fn is_past(&self) -> bool {
        self.greatest > self.last().saturating_add(LATE_MAX)
    }

    /// Whether a seq is wanted and was not found yet.
    pub(super) fn lacks(&self, seq: u64) -> bool {
        !self.is_full()
            && (self.next..=self.last()).contains(&seq)
            && !self.found.contains_key(&seq)
    }

    /// Whether a seq up to `last_seq` is wanted and was not found yet.
    pub(super) fn lacks_below(&self, last_seq: u64) -> bool {
        !self.is_full() && self.next <= last_seq.min(self.last())
    }

    /// The seqs up to `last_seq` that are wanted and were not found yet.
    pub(super) fn missing(&self, last_seq: u64) -> impl Iterator<Item = u64> {
        (self.next..=last_seq.min(self.last())).filter(|seq| !self.found.contains_key(seq))
    }

    /// Whether a message was met beyond one that was not.
    pub(super) fn has_gap(&self) -> bool {
        !self.is_full() && self.greatest > self.next
    }

    /// The first seq of the run that was not found.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The run without a gap, within the bound. `last_seq` is that of the conversation.
    pub(super) fn slice(self, last_seq: u64) -> Slice {
        let mut slice = Slice::default();
        let mut bytes = 0;
        for (_, message) in self
            .found
            .into_iter()
            .take_while(|(seq, _)| *seq < self.next)
        {
            bytes += message.payload.len();
            let fits = slice.messages.len() < self.bound.messages_max
                && (slice.messages.is_empty() || bytes <= self.bound.bytes_max);
            if !fits {
                break;
            }
            slice.messages.push(message);
        }
        let end = self.first + slice.messages.len() as u64;
        slice.has_more = last_seq >= end;
        slice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(sub: u32) -> Part {
        Part { bucket: 3, sub }
    }

    fn mark(seq: u64, sub: u32, message_id: u64) -> Mark {
        Mark {
            seq,
            message_id,
            part: part(sub),
        }
    }

    #[test]
    fn scans_begin_at_the_nearest_mark_and_late_ones_are_points() {
        let marks = [
            mark(1, 0, 100),
            mark(65, 0, 200),
            mark(70, 0, 190),
            mark(90, 1, 300),
            mark(95, 0, 210),
            mark(129, 1, 400),
        ];
        let plan = Plan::new(&marks, 75);
        assert_eq!(plan.scans, [(part(0), 200), (part(1), 300)]);
        assert_eq!(plan.points, marks[3..]);
        // The first partition is over by then.
        assert_eq!(Plan::new(&marks, 92).scans, [(part(1), 300)]);
        assert_eq!(Plan::new(&marks, 130).scans, [(part(1), 400)]);
    }

    #[test]
    fn a_scan_begins_at_a_later_mark_that_came_late() {
        let marks = [mark(1, 0, 100), mark(65, 0, 90), mark(129, 0, 300)];
        assert_eq!(Plan::new(&marks, 10).scans, [(part(0), 90)]);
    }

    #[test]
    fn only_what_is_newer_than_a_tail_is_read_of_those_who_have_everything() {
        let tail = Tail {
            part: part(1),
            last_message_id: 450,
            ..Tail::default()
        };
        let marks = [mark(65, 0, 200), mark(90, 1, 300), mark(129, 2, 500)];
        let plan = Plan::new(&marks, 100).after(&tail);
        assert_eq!(plan.scans, [(part(1), 451), (part(2), 500)]);
    }
}
