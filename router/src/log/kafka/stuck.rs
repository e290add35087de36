//! Which partitions cannot go on, since the topic does not have the offset that comes next: it was let
//! go before it was applied, the log was cut off below it, or the topic is another one of the same name.
//! Nothing is skipped by itself.
//!
//! With `auto.offset.reset=error` librdkafka stops fetching such a partition, says so once for it without
//! its number, and leaves it until it is assigned anew (`rd_kafka_offset_reset`). A log that was cut off
//! and has grown since has the offset again, with another record there, and those before it were never
//! read. So whoever was found stuck stays stuck until the partition goes from here, and of one that had
//! grown before it was looked at it is said that it may stand.
//!
//! What this cannot tell: offsets are committed without the leader's epoch. A process that is given a
//! partition, or starts, after such a log has grown beyond the committed offset goes on there, and
//! passes over what took the offsets below. Hence the advice: set the offsets back before any restart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use rdkafka::Offset as At;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::rebalance::{Group, is_among};
use super::standing::Standing;
use crate::log::Partition;

/// What is known of the partitions that are here.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    /// Stuck, at this offset.
    at: BTreeMap<i32, i64>,
    /// Were set going, as they did not know where to begin: explains what librdkafka said.
    begun: BTreeSet<i32>,
    /// Could go on, but one of them was said to have stopped: where they were then.
    suspect: BTreeMap<i32, i64>,
    /// librdkafka said that one stopped, and it was not looked since.
    stopped: bool,
}

impl Stuck {
    /// librdkafka stopped one.
    pub(super) fn stopped(&mut self) {
        self.stopped = true;
    }

    /// They are here no more; if they come again it is from the committed offset.
    pub(super) fn forget(&mut self, gone: &[Partition]) {
        let here = |partition: &i32| !is_among(*partition, gone);
        self.at.retain(|partition, _| here(partition));
        self.begun.retain(here);
        self.suspect.retain(|partition, _| here(partition));
    }

    /// A sentence for each that is stuck. One that only did not know where to begin is set going.
    pub(super) fn find(
        &mut self,
        consumer: &BaseConsumer<Group>,
        group: &Group,
        standing: &Standing,
        timeout: Duration,
    ) -> KafkaResult<Vec<String>> {
        let mut sentences = Vec::new();
        let committed = consumer.committed(timeout)?;
        let position = consumer.position()?;
        let mut known = BTreeMap::new();
        for element in committed.elements() {
            let partition = element.partition();
            let read = position.find_partition(&group.topic, partition);
            let read = read.and_then(|read| offset(read.offset()));
            let read = read.or_else(|| standing.at(partition));
            let (low, high) = consumer.fetch_watermarks(&group.topic, partition, timeout)?;
            match self.verdict(partition, read, offset(element.offset()), low..=high) {
                Verdict::Goes => {
                    known.extend(read.map(|read| (partition, read)));
                }
                Verdict::Stuck(next) => sentences.push(format!(
                    "partition {partition} goes on at offset {next}, and the topic has {low} to {high}"
                )),
                Verdict::Begin(next) => {
                    let begin =
                        group.list(&[(u32::try_from(partition).unwrap_or_default(), next)])?;
                    consumer.incremental_unassign(&begin)?;
                    consumer.incremental_assign(&begin)?;
                    self.begun.insert(partition);
                }
            }
        }
        self.suspect(known);
        self.stopped = false;
        if !self.suspect.is_empty() {
            let suspect: Vec<String> = self.suspect.keys().map(i32::to_string).collect();
            sentences.push(format!(
                "a partition stopped at an offset that the topic did not have and may have again; \
                 it is one of {}",
                suspect.join(", ")
            ));
        }
        Ok(sentences)
    }

    /// `read` is the next to be read where anything was read since the partition came.
    fn verdict(
        &mut self,
        partition: i32,
        read: Option<i64>,
        committed: Option<i64>,
        has: RangeInclusive<i64>,
    ) -> Verdict {
        if let Some(next) = self.at.get(&partition) {
            return Verdict::Stuck(*next);
        }
        match (read, committed) {
            (Some(next), _) | (None, Some(next)) if !has.contains(&next) => {
                self.at.insert(partition, next);
                Verdict::Stuck(next)
            }
            (Some(_), _) => Verdict::Goes,
            _ if !self.stopped => Verdict::Goes,
            (None, Some(next)) => Verdict::Begin(At::Offset(next)),
            (None, None) => Verdict::Begin(At::Beginning),
        }
    }

    /// `known` are those that can go on, and where. One of them is it where nothing else explains what
    /// librdkafka said. Setting it going at its place would pass over what the topic lost and got since.
    fn suspect(&mut self, known: BTreeMap<i32, i64>) {
        self.suspect
            .retain(|partition, at| known.get(partition) == Some(at));
        if self.stopped && self.at.is_empty() && self.begun.is_empty() {
            self.suspect = known;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    /// At this offset, which the topic does not have, or did not have once.
    Stuck(i64),
    /// Nothing was read yet, and it can begin here.
    Begin(At),
}

fn offset(at: At) -> Option<i64> {
    match at {
        At::Offset(offset) => Some(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a partition of which nothing is known yet, when one stopped.
    fn verdict(read: Option<i64>, committed: Option<i64>, has: RangeInclusive<i64>) -> Verdict {
        let mut stuck = Stuck::default();
        stuck.stopped();
        stuck.verdict(0, read, committed, has)
    }

    #[test]
    fn nothing_is_skipped() {
        assert_eq!(
            verdict(None, Some(5), 9..=20),
            Verdict::Stuck(5),
            "let go too early"
        );
        assert_eq!(
            verdict(None, Some(30), 0..=20),
            Verdict::Stuck(30),
            "another topic"
        );
        assert_eq!(
            verdict(Some(25), Some(5), 0..=20),
            Verdict::Stuck(25),
            "cut off"
        );
        assert_eq!(
            verdict(None, None, 9..=20),
            Verdict::Begin(At::Beginning),
            "a fresh group"
        );
        assert_eq!(
            verdict(None, Some(20), 9..=20),
            Verdict::Begin(At::Offset(20))
        );
        assert_eq!(verdict(Some(12), Some(5), 9..=20), Verdict::Goes);
    }

    #[test]
    fn a_log_that_grows_beyond_the_place_sets_nothing_going() {
        for (read, committed) in [(Some(25), Some(5)), (None, Some(25))] {
            let mut stuck = Stuck::default();
            stuck.stopped();
            assert_eq!(
                stuck.verdict(3, read, committed, 0..=20),
                Verdict::Stuck(25)
            );
            assert_eq!(
                stuck.verdict(3, read, committed, 0..=40),
                Verdict::Stuck(25)
            );
            assert_ne!(
                stuck.verdict(4, read, committed, 0..=40),
                Verdict::Stuck(25)
            );
            stuck.forget(&[Partition(4)]);
            assert_eq!(
                stuck.verdict(3, read, committed, 0..=40),
                Verdict::Stuck(25)
            );
            stuck.forget(&[Partition(3)]);
            assert_ne!(
                stuck.verdict(3, read, committed, 0..=40),
                Verdict::Stuck(25)
            );
        }
    }

    #[test]
    fn who_may_have_stopped_is_told_until_it_moves() {
        let mut stuck = Stuck::default();
        stuck.suspect([(0, 7), (1, 8)].into());
        assert!(stuck.suspect.is_empty(), "nobody stopped");
        stuck.stopped();
        stuck.suspect([(0, 7), (1, 8)].into());
        stuck.stopped = false;
        stuck.suspect([(0, 7), (1, 9)].into());
        assert_eq!(stuck.suspect, [(0, 7)].into());
        stuck.forget(&[Partition(0)]);
        assert!(stuck.suspect.is_empty());

        let begun = [0].into();
        let mut explained = Stuck {
            stopped: true,
            begun,
            ..Stuck::default()
        };
        explained.suspect([(1, 8)].into());
        assert!(explained.suspect.is_empty());
    }
}
