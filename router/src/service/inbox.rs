//! What was counted and is not in the inboxes of its members yet.
//!
//! Entering it for each message would cost a row a member, so a conversation's messages gather for some
//! seconds, longer where it has many members, and are entered as one segment. The invariants: what gathers
//! is bounded; until it is entered it is found here; no partition is said to be entered beyond the first
//! record that is not. One lock, held for no longer than a look.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::{Offset, Partition};
use crate::store::{Place, SLOT_MS, Segment, SegmentRow, Slot};

/// How long the messages of a conversation gather, by its members.
const GATHER_MS: [(usize, u64); 3] = [(16, 10_000), (256, 30_000), (usize::MAX, 60_000)];
/// Conversations whose last segment is remembered, so that it grows within its slot.
const KEPT_MAX: usize = 100_000;

/// A message that was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) conversation_id: u64,
    pub(super) seq: u64,
}

/// What gathers of a conversation.
#[derive(Debug)]
struct Gathered {
    partition: Partition,
    members: Arc<[u64]>,
    /// The slot in which the segment was entered before, as far as it was.
    slot: Option<Slot>,
    from_seq: u64,
    last_seq: u64,
    /// The last seq that is entered.
    entered_seq: u64,
    /// The first record that is not, and when it was counted.
    first: Option<(Offset, u64)>,
    /// Behind the last record.
    next: Offset,
    /// The same of what is being entered, and since when.
    entering: (Offset, u64),
}

impl Gathered {
    /// The slot in which it is entered: that of its first message, so that it stands still in the walks of
    /// readers while it gathers. What could not be entered for long is, as all that is late, of now.
    fn slot_at(&self, now_ms: u64) -> Slot {
        match self.first {
            Some((_, since_ms)) if now_ms.saturating_sub(since_ms) <= SLOT_MS / 2 => {
                Slot::of(since_ms)
            }
            _ => Slot::of(now_ms),
        }
    }

    /// The segment goes on in this slot; where another one was begun, behind what that one has.
    fn turn_to(&mut self, slot: Slot) {
        if self.slot.is_some_and(|entered| entered != slot) {
            self.slot = None;
            self.from_seq = self.entered_seq + 1;
        }
    }

    fn is_due(&self, now_ms: u64) -> bool {
        let of = |(members, _): &&(usize, u64)| self.members.len() <= *members;
        let wait_ms = GATHER_MS.iter().find(of).map_or(0, |(_, ms)| *ms);
        self.first
            .is_some_and(|(_, since_ms)| now_ms >= since_ms.saturating_add(wait_ms))
    }
}

#[derive(Debug, Default)]
struct State {
    of: HashMap<u64, Gathered>,
    /// Users, each with the conversations that have something here.
    by_user: BTreeSet<(u64, u64)>,
    /// The rows that these are.
    rows: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inboxes {
    rows_max: usize,
    state: Mutex<State>,
}

impl Inboxes {
    /// Beyond `rows_max` rows, one for a conversation and member, what gathers is entered before its time, the
    /// oldest first; beyond twice as many counting waits.
    pub(super) fn new(rows_max: usize) -> Inboxes {
        Inboxes {
            rows_max,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message was counted.
    pub(super) fn enter(&self, entered: &Entered, members: &Arc<[u64]>, now_ms: u64) {
        let mut state = self.state();
        let state = &mut *state;
        let gathered = state
            .of
            .entry(entered.conversation_id)
            .or_insert_with(|| Gathered {
                partition: entered.partition,
                members: Arc::clone(members),
                slot: None,
                from_seq: entered.seq,
                last_seq: entered.seq - 1,
                entered_seq: entered.seq - 1,
                first: None,
                next: entered.offset,
                entering: (entered.offset, now_ms),
            });
        if gathered.first.is_none() {
            gathered.turn_to(Slot::of(now_ms));
            gathered.first = Some((entered.offset, now_ms));
            state.rows += members.len();
            let of_user = |&user_id: &u64| (user_id, entered.conversation_id);
            state.by_user.extend(members.iter().map(of_user));
        }
        gathered.last_seq = entered.seq;
        gathered.next = entered.offset.plus(1);
    }

    /// The last seq that was counted of a conversation, where that was lately.
    pub(super) fn last_seq(&self, conversation_id: u64) -> Option<u64> {
        let state = self.state();
        state.of.get(&conversation_id).map(|it| it.last_seq)
    }

    /// Whether some of it is to be entered before its time.
    pub(super) fn is_high(&self) -> bool {
        self.rows() > self.rows_max
    }

    /// Whether counting is to wait until some of it is entered.
    pub(super) fn is_full(&self) -> bool {
        self.rows() > 2 * self.rows_max
    }

    /// What is to be entered now; all of it where it is asked for.
    pub(super) fn due(&self, now_ms: u64, all: bool) -> Vec<Segment> {
        let mut state = self.state();
        let early = early(&state, self.rows_max);
        let segment = |(&conversation_id, gathered): (&u64, &mut Gathered)| {
            let due = all || gathered.is_due(now_ms) || early.contains(&conversation_id);
            if !due || gathered.first.is_none() {
                return None;
            }
            let slot = gathered.slot_at(now_ms);
            gathered.turn_to(slot);
            gathered.entering = (gathered.next, now_ms);
            Some(Segment {
                slot,
                conversation_id,
                from_seq: gathered.from_seq,
                last_seq: gathered.last_seq,
                members: Arc::clone(&gathered.members),
            })
        };
        state.of.iter_mut().filter_map(segment).collect()
    }

    /// These were entered. What came meanwhile is not.
    pub(super) fn entered(&self, segments: &[Segment]) {
        let mut state = self.state();
        let state = &mut *state;
        for segment in segments {
            let Some(gathered) = state.of.get_mut(&segment.conversation_id) else {
                continue;
            };
            gathered.slot = Some(segment.slot);
            gathered.entered_seq = segment.last_seq;
            if gathered.last_seq > segment.last_seq {
                gathered.first = Some(gathered.entering);
                continue;
            }
            if gathered.first.take().is_some() {
                state.rows -= gathered.members.len();
                for &user_id in gathered.members.iter() {
                    state.by_user.remove(&(user_id, segment.conversation_id));
                }
            }
        }
        if state.of.len() > KEPT_MAX {
            state.of.retain(|_, gathered| gathered.first.is_some());
        }
    }

    /// The first record of each partition that is not entered.
    pub(super) fn firsts(&self) -> HashMap<Partition, Offset> {
        let mut firsts: HashMap<Partition, Offset> = HashMap::new();
        for gathered in self.state().of.values() {
            if let Some((first, _)) = gathered.first {
                let least = firsts.entry(gathered.partition).or_insert(first);
                *least = first.min(*least);
            }
        }
        firsts
    }

    /// What is not entered of a user's, as the segments that it would be now: those below a place, from the
    /// newest down, and whether there are more.
    pub(super) fn of_user(
        &self,
        user_id: u64,
        below: Place,
        rows_max: usize,
        now_ms: u64,
    ) -> (Vec<SegmentRow>, bool) {
        let state = self.state();
        let row = |&(_, conversation_id): &(u64, u64)| {
            let gathered = state.of.get(&conversation_id)?;
            let slot = gathered.slot_at(now_ms);
            let from_seq = match gathered.slot {
                Some(entered) if entered != slot => gathered.entered_seq + 1,
                _ => gathered.from_seq,
            };
            let place = Place {
                slot,
                conversation_id,
                from_seq,
            };
            let last_seq = gathered.last_seq;
            (place < below).then_some(SegmentRow { place, last_seq })
        };
        let of_user = state.by_user.range((user_id, 0)..=(user_id, u64::MAX));
        let mut rows: Vec<SegmentRow> = of_user.filter_map(row).collect();
        drop(state);
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.place));
        let more = rows.len() > rows_max;
        rows.truncate(rows_max);
        (rows, more)
    }

    /// Rows that gather.
    pub(super) fn rows(&self) -> usize {
        self.state().rows
    }

    /// Partitions went to another process, which reads what was not entered from the log.
    pub(super) fn drop_partitions(&self, partitions: &[Partition]) {
        let mut state = self.state();
        state
            .of
            .retain(|_, gathered| !partitions.contains(&gathered.partition));
        state.rows = 0;
        state.by_user.clear();
        let State { of, by_user, rows } = &mut *state;
        for (&id, gathered) in of.iter().filter(|(_, gathered)| gathered.first.is_some()) {
            *rows += gathered.members.len();
            by_user.extend(gathered.members.iter().map(|&user_id| (user_id, id)));
        }
    }
}

/// What is entered before its time, because too much has gathered: the oldest.
fn early(state: &State, rows_max: usize) -> HashSet<u64> {
    let mut excess = state.rows.saturating_sub(rows_max);
    if excess == 0 {
        return HashSet::new();
    }
    let since =
        |(&id, gathered): (&u64, &Gathered)| Some((gathered.first?.1, id, gathered.members.len()));
    let mut waiting: Vec<(u64, u64, usize)> = state.of.iter().filter_map(since).collect();
    waiting.sort_unstable();
    let oldest = waiting.into_iter().take_while(|&(_, _, rows)| {
        let more = excess > 0;
        excess = excess.saturating_sub(rows);
        more
    });
    oldest.map(|(_, id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SLOT_MS;

    const START_MS: u64 = 1_000 * SLOT_MS;
    const HERE: Partition = Partition(3);

    fn message(conversation_id: u64, seq: u64) -> Entered {
        Entered {
            partition: HERE,
            offset: Offset(10 * seq),
            conversation_id,
            seq,
        }
    }

    fn rows(inboxes: &Inboxes, user_id: u64, now_ms: u64) -> Vec<(u64, u64, u64)> {
        let (rows, more) = inboxes.of_user(user_id, Place::NEWEST, 1_000, now_ms);
        assert!(!more);
        rows.iter()
            .map(|row| (row.place.conversation_id, row.place.from_seq, row.last_seq))
            .collect()
    }

    fn runs(segments: &[Segment]) -> Vec<(u32, u64, u64)> {
        segments
            .iter()
            .map(|it| (it.slot.0, it.from_seq, it.last_seq))
            .collect()
    }

    #[test]
    fn a_segment_grows_within_its_slot_and_the_next_slot_has_the_rest() {
        let inboxes = Inboxes::new(500_000);
        let members: Arc<[u64]> = [1, 2].into();
        inboxes.enter(&message(7, 5), &members, START_MS);
        inboxes.enter(&message(7, 6), &members, START_MS + 1);
        assert_eq!(rows(&inboxes, 2, START_MS), [(7, 5, 6)]);
        assert_eq!(rows(&inboxes, 3, START_MS), []);
        assert!(inboxes.due(START_MS + 9_999, false).is_empty());
        let due = inboxes.due(START_MS + 10_000, false);
        assert_eq!(runs(&due), [(1_000, 5, 6)]);
        // One more while that is written.
        inboxes.enter(&message(7, 7), &members, START_MS + 10_001);
        inboxes.entered(&due);
        assert_eq!(inboxes.firsts()[&HERE], Offset(61));
        assert_eq!(rows(&inboxes, 1, START_MS), [(7, 5, 7)]);
        let due = inboxes.due(START_MS + 30_000, false);
        assert_eq!(runs(&due), [(1_000, 5, 7)]);
        inboxes.entered(&due);
        assert_eq!(
            (inboxes.firsts().len(), rows(&inboxes, 1, START_MS)),
            (0, vec![])
        );
        // In the next slot it is another one.
        let later_ms = START_MS + SLOT_MS;
        inboxes.enter(&message(7, 8), &members, later_ms);
        assert_eq!(rows(&inboxes, 1, later_ms), [(7, 8, 8)]);
        assert_eq!(runs(&inboxes.due(later_ms, true)), [(1_001, 8, 8)]);
    }

    #[test]
    fn what_gathers_stands_still_and_what_is_late_is_of_now() {
        let inboxes = Inboxes::new(500_000);
        let begun_ms = START_MS + SLOT_MS - 1;
        inboxes.enter(&message(7, 1), &[1].into(), begun_ms);
        let slots = |now_ms| {
            let (rows, _) = inboxes.of_user(1, Place::NEWEST, 10, now_ms);
            let due = inboxes.due(now_ms, true);
            (rows[0].place.slot.0, due[0].slot.0)
        };
        assert_eq!(slots(begun_ms + SLOT_MS / 2), (1_000, 1_000));
        assert_eq!(slots(begun_ms + SLOT_MS / 2 + 1), (1_001, 1_001));
        assert_eq!(slots(begun_ms + 7 * SLOT_MS), (1_007, 1_007));
    }

    /// For days, while messages come and are stored.
    #[test]
    fn however_long_nothing_can_be_entered_a_conversation_is_one_entry() {
        let inboxes = Inboxes::new(500_000);
        let members: Arc<[u64]> = [1, 2].into();
        let mut now_ms = START_MS;
        for seq in 1..=10_000 {
            for id in [7, 8] {
                inboxes.enter(&message(id, seq), &members, now_ms);
            }
            assert_eq!(inboxes.due(now_ms + 10_000, false).len(), 2);
            now_ms += SLOT_MS / 3;
        }
        let state = inboxes.state();
        assert_eq!((state.of.len(), state.by_user.len(), state.rows), (2, 4, 4));
        drop(state);
        assert_eq!(inboxes.firsts()[&HERE], Offset(10));
        assert_eq!(rows(&inboxes, 2, now_ms), [(8, 1, 10_000), (7, 1, 10_000)]);
        inboxes.entered(&inboxes.due(now_ms, true));
        assert_eq!((inboxes.rows(), inboxes.firsts().len()), (0, 0));
    }

    #[test]
    fn what_gathers_is_bounded_and_the_oldest_goes_first() {
        let inboxes = Inboxes::new(500_000);
        let members: Arc<[u64]> = (0..1_000).collect();
        for id in 0..=1_000 {
            inboxes.enter(&message(id, 1), &members, START_MS + id);
        }
        assert!(inboxes.is_full());
        let due = inboxes.due(START_MS + 1_001, false);
        assert_eq!(due.len(), 501);
        assert!(due.iter().all(|segment| segment.conversation_id < 501));
        inboxes.entered(&due);
        assert!(!inboxes.is_full());
        let page = |below| inboxes.of_user(5, below, 300, START_MS);
        let (first, more) = page(Place::NEWEST);
        assert!(more && first[0].place.conversation_id == 1_000);
        let (second, more) = page(first[299].place);
        assert_eq!((second.len(), more), (200, false));
        assert!(second[0].place < first[299].place);
        inboxes.drop_partitions(&[Partition(4)]);
        assert_eq!(rows(&inboxes, 5, START_MS).len(), 500);
        inboxes.drop_partitions(&[HERE]);
        assert_eq!(rows(&inboxes, 5, START_MS).len(), 0);
        assert!(inboxes.firsts().is_empty());
    }
}
