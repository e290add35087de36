//! Which records of a log that many write are messages that it has already.
//!
//! Pure; what the store knows is an argument. A record is a repetition where an earlier one of the same
//! conversation, sender and `client_msg_id` took a seq and
//! - is *near*: within [`NEAR_OFFSETS`] and [`NEAR_MS`] before it, or
//! - took it within seven days, and the record is marked as repeated, or *stale*: it came into the log
//!   over [`STALE_MS`] after its id was given, so it may have been overtaken by its retry.
//!
//! The invariant: this is a function of the partition's records alone, not of who consumes it since when.
//! Near ones are remembered here; where that memory does not reach back far enough yet, and of marked and
//! stale records, the store is asked, which knows every record below the partition's position. Records
//! that take no seq are nobody's repetition.

use std::collections::{HashMap, VecDeque};

use crate::admission::{DEDUP_TTL_MS, SendKey};
use crate::ids;
use crate::log::{Offset, Partition};
use crate::store::Sent;

/// Offsets within which a record is near. With [`NEAR_MS`] that covers a record that lands late unmarked in
/// partitions of up to a thousand records a second; 80 B are kept for each.
pub(crate) const NEAR_OFFSETS: u64 = 32_768;
/// Append time within which a record is near: a client's retry, an election and a producer's own patience.
pub(crate) const NEAR_MS: u64 = 30_000;
/// A record is stale that came into the log so long after its id. Clocks of edges and brokers are closer.
pub(crate) const STALE_MS: u64 = 5_000;

/// What makes two records the same message.
type Name = (u64, SendKey);

/// A message record as it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    /// When the log took it, Unix ms.
    pub(crate) at_ms: u64,
    pub(crate) conversation_id: u64,
    pub(crate) sent_as: SendKey,
    pub(crate) message_id: u64,
    /// Its edge was not sure that the log did not have it.
    pub(crate) repeated: bool,
}

impl Arrival {
    fn name(&self) -> Name {
        (self.conversation_id, self.sent_as)
    }

    fn looks_back_for_days(&self) -> bool {
        self.repeated || self.at_ms > ids::unix_ms(self.message_id).saturating_add(STALE_MS)
    }

    fn is_near(&self, offset: u64, at_ms: u64) -> bool {
        offset < self.offset.0
            && self.offset.0 - offset <= NEAR_OFFSETS
            && self.at_ms <= at_ms.saturating_add(NEAR_MS)
    }

    /// Whether a record of its name that took a seq makes this one a repetition.
    fn repeats(&self, offset: u64, at_ms: u64) -> bool {
        let lately = self.at_ms < at_ms.saturating_add(DEDUP_TTL_MS);
        offset < self.offset.0
            && (self.is_near(offset, at_ms) || (self.looks_back_for_days() && lately))
    }

    fn repeats_sent(&self, sent: &Sent) -> bool {
        sent.known.conversation_id == self.conversation_id
            && self.repeats(sent.log_offset, sent.at_ms)
    }
}

/// From which record on every one is remembered while it is near.
#[derive(Clone, Copy, Debug, Default)]
enum Since {
    /// The next one.
    #[default]
    Now,
    /// This offset, which the log took at that time.
    Record(u64, u64),
    /// The first one of the partition.
    Begin,
}

/// What is remembered of a partition.
#[derive(Debug, Default)]
struct Names {
    since: Since,
    /// The record that is consumed next.
    next: Offset,
    known: HashMap<Name, (u64, u64)>,
    order: VecDeque<(u64, u64, Name)>,
}

impl Names {
    fn reaches_back(&self, arrival: &Arrival) -> bool {
        match self.since {
            Since::Now => false,
            Since::Record(offset, at_ms) => !arrival.is_near(offset, at_ms),
            Since::Begin => true,
        }
    }

    fn remember(&mut self, arrival: &Arrival) {
        let (offset, at_ms) = (arrival.offset.0, arrival.at_ms);
        // By their number alone: a partition that is read after a while may bring hours at once, of which
        // the store has nothing yet.
        while let Some(&(old, old_ms, name)) = self.order.front()
            && offset.saturating_sub(old) > NEAR_OFFSETS
        {
            self.order.pop_front();
            if self.known.get(&name) == Some(&(old, old_ms)) {
                self.known.remove(&name);
            }
        }
        self.known.insert(arrival.name(), (offset, at_ms));
        self.order.push_back((offset, at_ms, arrival.name()));
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Repetitions {
    partitions: HashMap<Partition, Names>,
}

impl Repetitions {
    /// A partition is consumed from here on. What is known of it stays true: its log does not change.
    pub(crate) fn begin(&mut self, partition: Partition, at: Offset) {
        let names = self.partitions.entry(partition).or_default();
        if names.next != at {
            // Records lie between that were not seen.
            names.since = Since::Now;
            names.next = at;
        }
        if at == Offset(0) {
            names.since = Since::Begin;
        }
    }

    /// Whether the store must be asked for the records of its name before it can be judged.
    pub(crate) fn must_ask(&self, arrival: &Arrival) -> bool {
        let names = self.partitions.get(&arrival.partition);
        arrival.looks_back_for_days() || !names.is_some_and(|names| names.reaches_back(arrival))
    }

    /// Whether a record is a repetition; one that is not is remembered. `sent` is what the store has under
    /// its name, where it was to be asked.
    pub(crate) fn judge(&mut self, arrival: &Arrival, sent: &[Sent]) -> bool {
        let names = self.partitions.entry(arrival.partition).or_default();
        if matches!(names.since, Since::Now) {
            names.since = Since::Record(arrival.offset.0, arrival.at_ms);
        }
        names.next = arrival.offset.plus(1);
        let near = names.known.get(&arrival.name());
        let repeats = near.is_some_and(|&(offset, at_ms)| arrival.repeats(offset, at_ms))
            || sent.iter().any(|sent| arrival.repeats_sent(sent));
        if !repeats {
            names.remember(arrival);
        }
        repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Known;
    use proptest::prelude::*;

    const START_MS: u64 = ids::EPOCH_MS + 1_000_000;

    /// A record of a made-up partition: which name, how long after the one before, how late, whether marked.
    type Made = (u8, u64, u64, bool);

    fn arrivals(made: &[Made]) -> Vec<Arrival> {
        let mut at_ms = START_MS;
        let arrival = |(offset, &(name, step_ms, late_ms, repeated)): (usize, &Made)| {
            at_ms += step_ms;
            Arrival {
                partition: Partition(3),
                offset: Offset(7 * offset as u64),
                at_ms,
                conversation_id: u64::from(name % 2),
                sent_as: (1, [name / 2; 16]),
                message_id: ids::least_at(at_ms - late_ms),
                repeated,
            }
        };
        made.iter().enumerate().map(arrival).collect()
    }

    fn sent(arrival: &Arrival) -> Sent {
        Sent {
            known: Known {
                conversation_id: arrival.conversation_id,
                payload_hash: 0,
                message_id: arrival.message_id,
                hlc: 0,
            },
            seq: 0,
            log_offset: arrival.offset.0,
            at_ms: arrival.at_ms,
        }
    }

    /// Judges the records from one on; `stored` are those before it that took a seq, and by whom else they
    /// may have been written already.
    fn judge(arrivals: &[Arrival], from: usize, stored: &[Sent], named: &[SendKey]) -> Vec<bool> {
        let mut repetitions = Repetitions::default();
        let first = arrivals.get(from).map_or(Offset(0), |it| it.offset);
        repetitions.begin(Partition(3), first);
        let judged = arrivals[from..].iter().map(|arrival| {
            let asked = repetitions.must_ask(arrival);
            let of_name = stored.iter().zip(named);
            let of_name = of_name.filter(|(_, name)| asked && **name == arrival.sent_as);
            let sent: Vec<Sent> = of_name.map(|(sent, _)| *sent).collect();
            repetitions.judge(arrival, &sent)
        });
        judged.collect()
    }

    #[test]
    fn a_record_that_lands_after_its_retry_is_a_repetition_whoever_consumes_by_then() {
        // Marked and counted; then the original, unmarked, 20 s after its id.
        let made = [
            (0, 0, 0, true),
            (2, 1_000, 0, false),
            (0, 4_000, 20_000, false),
        ];
        let arrivals = arrivals(&made);
        let named: Vec<SendKey> = arrivals.iter().map(|it| it.sent_as).collect();
        let stored: Vec<Sent> = arrivals.iter().map(sent).collect();
        assert_eq!(judge(&arrivals, 0, &[], &[]), [false, false, true]);
        assert_eq!(judge(&arrivals, 1, &stored[..1], &named), [false, true]);
        assert_eq!(judge(&arrivals, 2, &stored[..2], &named), [true]);
        // In another conversation it is another message; after seven days too.
        let mut other = arrivals[2];
        other.conversation_id = 9;
        assert!(!other.repeats_sent(&stored[0]));
        other = arrivals[2];
        other.at_ms = stored[0].at_ms + DEDUP_TTL_MS;
        assert!(!other.repeats_sent(&stored[0]));
    }

    #[test]
    fn a_partition_that_comes_back_where_it_was_left_is_not_asked_for() {
        let made: Vec<Made> = (0..40).map(|n| (n, 1_000, 0, false)).collect();
        let arrivals = arrivals(&made);
        let mut repetitions = Repetitions::default();
        repetitions.begin(Partition(3), Offset(0));
        for arrival in &arrivals[..35] {
            repetitions.judge(arrival, &[]);
        }
        repetitions.begin(Partition(3), Offset(arrivals[34].offset.0 + 1));
        assert!(!repetitions.must_ask(&arrivals[35]));
        repetitions.begin(Partition(3), arrivals[37].offset);
        assert!(repetitions.must_ask(&arrivals[37]));
        // So many are remembered, and no more.
        let far = Arrival {
            offset: Offset(arrivals[34].offset.0 + NEAR_OFFSETS + 1),
            ..arrivals[39]
        };
        assert!(!repetitions.judge(&far, &[]));
        let names = &repetitions.partitions[&Partition(3)];
        assert_eq!((names.known.len(), names.order.len()), (1, 1));
    }

    proptest! {
        /// Whoever begins at any record, over a store that has what lies below it, and maybe more that an
        /// owner before it wrote, judges as the one who read it all.
        #[test]
        fn every_owner_judges_alike(
            made in prop::collection::vec((0_u8..8, 0_u64..9_000, 0_u64..9_000, any::<bool>()), 1..60),
            from in 0_usize..60,
            ahead in 0_usize..60,
        ) {
            let arrivals = arrivals(&made);
            let from = from % arrivals.len();
            // Asked for everything: the store of the first owner is always up to date.
            let mut first = Vec::new();
            let (mut stored, mut named) = (Vec::new(), Vec::new());
            let mut repetitions = Repetitions::default();
            repetitions.begin(Partition(3), Offset(0));
            let mut below = Vec::new();
            for arrival in &arrivals {
                let of_name: Vec<Sent> = stored
                    .iter()
                    .zip(&named)
                    .filter(|(_, name): &(&Sent, &SendKey)| **name == arrival.sent_as)
                    .map(|(sent, _)| *sent)
                    .collect();
                let asked = repetitions.must_ask(arrival);
                let repeats = repetitions.judge(arrival, if asked { &of_name } else { &[] });
                if !repeats {
                    stored.push(sent(arrival));
                    named.push(arrival.sent_as);
                }
                first.push(repeats);
                below.push(stored.len());
            }
            let at_least = match from {
                0 => 0,
                from => below[from - 1],
            };
            let rows = (at_least + ahead).min(stored.len());
            prop_assert_eq!(&judge(&arrivals, from, &stored[..rows], &named)[..], &first[from..]);
        }
    }
}
