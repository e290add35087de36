//! The consumer's thread: polls without a pause, gathers records into batches of one partition, sets
//! partitions going where the router says, and commits what the store has. What it gathers goes to the
//! feeder's thread, which may block: then the partitions are paused, and the polling keeps this process in
//! its group. A partition that cannot go on where it should ends it all: nothing is skipped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset as At, TopicPartitionList};

use super::floors::Floors;
use super::health::{Trouble, code_of};
use super::rebalance::Group;
use super::timer::now;
use crate::log::{Fed, Offset, Partition, Record};

/// A batch's records and bytes at most, over all partitions.
const BATCH_RECORDS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long a poll waits for the first record; commits are at most so late.
const POLL: Duration = Duration::from_millis(250);
/// The same while the feeder is busy, or partitions wait to be told where they begin: it may be soon.
const POLL_BUSY: Duration = Duration::from_millis(20);
/// How long the feeder may be busy before the partitions are paused. A pause throws away what was read
/// ahead, so it is for when the store is away, not for when it is slow.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often offsets are committed.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked whether a trouble is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Consuming {
    consumer: BaseConsumer<Group>,
    floors: Arc<Floors>,
    closing: Arc<AtomicBool>,
    gathered: BTreeMap<Partition, Vec<Record>>,
    /// The feeder is busy: all is paused.
    is_paused: bool,
    committed_at: Instant,
    looked_at: Instant,
}

impl Consuming {
    pub(super) fn new(
        consumer: BaseConsumer<Group>,
        floors: Arc<Floors>,
        closing: Arc<AtomicBool>,
    ) -> Self {
        Self {
            consumer,
            floors,
            closing,
            gathered: BTreeMap::new(),
            is_paused: false,
            committed_at: now(),
            looked_at: now(),
        }
    }

    /// Until the log closes, nobody consumes any more, or it must end. At the end the group is left in
    /// order: what was fed is applied and committed first.
    pub(super) fn run(mut self) {
        let group = self.consumer.context().clone();
        let closing = self.closing.clone();
        let closes = || closing.load(Ordering::Acquire) || group.handover.is_abandoned();
        while !closes() && group.health.ended().is_none() {
            let busy = !group.handover.wait_for_room(match self.is_paused {
                false => PATIENCE,
                true => Duration::ZERO,
            });
            let outcome = self
                .pause_or_resume(&group, busy)
                .and_then(|()| self.begin(&group))
                .and_then(|waits| self.gather(&group, if busy || waits { POLL_BUSY } else { POLL }))
                .and_then(|()| self.commit(&group));
            if let Err(error) = outcome {
                self.on_error(&group, &error);
            }
            self.look(&group);
        }
        // Dropping it revokes what is assigned, by way of `Group`, and leaves the group.
        drop(self.consumer);
        group.handover.end();
    }

    fn pause_or_resume(&mut self, group: &Group, busy: bool) -> KafkaResult<()> {
        if busy && !self.is_paused {
            self.consumer.pause(&self.consumer.assignment()?)?;
            self.is_paused = true;
            tracing::debug!("kafka: what was read is not applied yet; the partitions are paused");
        } else if !busy && self.is_paused {
            self.consumer.resume(&self.going(group)?)?;
            self.is_paused = false;
        }
        Ok(())
    }

    /// What is assigned and was told where it begins.
    fn going(&self, group: &Group) -> KafkaResult<TopicPartitionList> {
        let assigned = self.consumer.assignment()?;
        let numbers = assigned.elements();
        let numbers = numbers.iter().map(|element| element.partition());
        let numbers = numbers.filter_map(|number| u32::try_from(number).ok());
        let going = numbers.filter(|number| !group.begins.waits(Partition(*number)));
        let going: Vec<_> = going.map(|number| (number, At::Invalid)).collect();
        group.list(&going)
    }

    /// Sets going what was told where it begins; whether some partition is still to be.
    fn begin(&mut self, group: &Group) -> KafkaResult<bool> {
        let due = group.begins.due();
        for (partition, offset) in &due {
            if let Err(error) = self.begin_one(group, *partition, *offset) {
                // No leader at the moment, or librdkafka is not that far: tried again soon.
                tracing::debug!(%error, %partition, "kafka: a partition cannot begin yet");
                break;
            }
            if group.health.ended().is_some() {
                break;
            }
        }
        Ok(!group.begins.is_done())
    }

    fn begin_one(&self, group: &Group, partition: Partition, begin: Offset) -> KafkaResult<()> {
        let (number, at) = (partition.0 as i32, At::Offset(begin.0 as i64));
        let has = self
            .consumer
            .fetch_watermarks(&group.topic, number, LOOK_TIMEOUT)?;
        if let Some(sentence) = misses(partition, begin, has) {
            group.health.end(Trouble::Mismatch, sentence);
            return Ok(());
        }
        self.read_from(group, partition, at)?;
        group.marks().assign(partition.0, begin.0);
        self.floors.raise(partition, begin);
        group.begins.goes(partition);
        if !self.is_paused {
            self.consumer.resume(&group.list(&[(partition.0, at)])?)?;
        }
        tracing::info!(%partition, offset = %begin, "kafka: a partition begins");
        Ok(())
    }

    /// Polls until nothing is there or a batch is full, and hands on what came.
    fn gather(&mut self, group: &Group, mut wait: Duration) -> KafkaResult<()> {
        let (mut records, mut bytes) = (0, 0);
        let mut outcome = Ok(());
        while records < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
            let polled = self.consumer.poll(wait);
            let gone = group.take_gone();
            self.gathered
                .retain(|partition, _| !gone.contains(partition));
            match polled {
                None => break,
                Some(Err(error)) => {
                    outcome = Err(error);
                    break;
                }
                Some(Ok(message)) => {
                    records += 1;
                    bytes += message.payload_len();
                    if let Some(record) = record_of(&message)
                        && !group.begins.waits(record.partition)
                    {
                        self.gathered
                            .entry(record.partition)
                            .or_default()
                            .push(record);
                    }
                }
            }
            wait = Duration::ZERO;
        }
        if records > 0 {
            group.health.reached();
        }
        for (_, records) in std::mem::take(&mut self.gathered) {
            group.handover.put(Fed::Records(records));
        }
        outcome
    }

    fn commit(&mut self, group: &Group) -> KafkaResult<()> {
        if self.committed_at.elapsed() < COMMIT_EVERY {
            return Ok(());
        }
        self.committed_at = now();
        let due = group.marks().take_due();
        if due.is_empty() {
            return Ok(());
        }
        let offsets: Vec<_> = due
            .iter()
            .map(|(partition, offset)| (*partition, At::Offset(*offset as i64)))
            .collect();
        let told = group
            .list(&offsets)
            .and_then(|list| self.consumer.commit(&list, CommitMode::Async));
        if told.is_err() {
            let mut marks = group.marks();
            due.iter()
                .for_each(|(partition, _)| marks.refused(*partition));
        }
        told
    }

    fn on_error(&mut self, group: &Group, error: &KafkaError) {
        match (error, code_of(error)) {
            (KafkaError::MessageConsumptionFatal(code), _) => {
                let what = format!("the consumer stopped: {code}");
                group.health.end(Trouble::Fatal, what);
            }
            (_, Code::AutoOffsetReset) => {
                let trouble = match self.out_of_range(group) {
                    None if group.begins.is_done() => Some(format!(
                        "the topic {} lacks the offset that comes next",
                        group.topic
                    )),
                    // It was one that waits for its beginning, where the topic begins above the number that
                    // it was assigned at. Should it have been another one, that goes on.
                    None => self.go_on(group).err().map(|error| error.to_string()),
                    missing => missing,
                };
                if let Some(what) = trouble {
                    group.health.end(Trouble::Mismatch, what);
                }
            }
            // Told by `Group::error` already, with more words.
            (KafkaError::MessageConsumption(_), _) => {}
            (error, _) => tracing::warn!(%error, "kafka: the consumer goes on after an error"),
        }
    }

    /// The partitions that are read, each with the offset that comes next.
    fn places(&self, group: &Group) -> KafkaResult<Vec<(Partition, Offset)>> {
        let position = self.consumer.position()?;
        let place = |element: TopicPartitionListElem<'_>| {
            let number = u32::try_from(element.partition()).ok()?;
            let next = match element.offset() {
                At::Offset(next) => u64::try_from(next).ok()?,
                // Nothing was read yet: where it began.
                _ => group.marks().applied_below(number)?,
            };
            let place = (Partition(number), Offset(next));
            (!group.begins.waits(place.0)).then_some(place)
        };
        Ok(position.elements().into_iter().filter_map(place).collect())
    }

    /// A sentence on the partitions that are read and whose next offset the topic has not; none where all have
    /// it, or have it again.
    fn out_of_range(&self, group: &Group) -> Option<String> {
        let sentence = |(partition, next): (Partition, Offset)| {
            let number = partition.0 as i32;
            let has = self
                .consumer
                .fetch_watermarks(&group.topic, number, LOOK_TIMEOUT);
            misses(partition, next, has.ok()?)
        };
        let places = self.places(group).ok()?;
        let sentences: Vec<String> = places.into_iter().filter_map(sentence).collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    /// What is read is read on, also where librdkafka has stopped it.
    fn go_on(&self, group: &Group) -> KafkaResult<()> {
        self.places(group)?
            .into_iter()
            .try_for_each(|(partition, next)| {
                self.read_from(group, partition, At::Offset(next.0 as i64))
            })
    }

    /// Has a partition read from an offset on. Where it was looked for at one that the topic does not have, as
    /// that which it was assigned at may be, librdkafka has stopped it for good and seeks nothing: then it is
    /// assigned anew.
    fn read_from(&self, group: &Group, partition: Partition, at: At) -> KafkaResult<()> {
        let number = partition.0 as i32;
        match self.consumer.seek(&group.topic, number, at, LOOK_TIMEOUT) {
            Err(KafkaError::Seek(why)) => {
                tracing::debug!(why, %partition, "kafka: a partition is assigned anew");
                let anew = group.list(&[(partition.0, at)])?;
                self.consumer.incremental_unassign(&anew)?;
                self.consumer.incremental_assign(&anew)?;
                match self.is_paused {
                    true => self.consumer.pause(&anew),
                    false => Ok(()),
                }
            }
            sought => sought,
        }
    }

    /// Looks, while there is a trouble and at intervals, whether it is over.
    fn look(&mut self, group: &Group) {
        if group.health.is_well() || self.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        let found = self
            .consumer
            .fetch_metadata(Some(&group.topic), LOOK_TIMEOUT);
        if let Ok(metadata) = found {
            group.health.reached();
            let topic = metadata.topics().first();
            if topic.is_some_and(|topic| topic.error().is_none()) {
                group.health.clear(&[Trouble::NoTopic, Trouble::Forbidden]);
            }
        }
        self.looked_at = now();
    }
}

/// What is to be said where a partition, which has offsets from the first to the second of `has`, cannot
/// go on at `next`.
fn misses(partition: Partition, next: Offset, has: (i64, i64)) -> Option<String> {
    let (start, end) = has;
    let why = match i64::try_from(next.0) {
        Ok(next) if next < start => {
            "records were deleted before they were stored (retention, or by hand)"
        }
        Ok(next) if next <= end => return None,
        _ => {
            "the topic was made anew, cut off by an unclean leader, or is another cluster's of the same name"
        }
    };
    Some(format!(
        "partition {partition} goes on at offset {next}, and the topic has {start} to {end}: {why}"
    ))
}

/// As a record of ours; of a foreign one, whose key is no conversation's, the key is 0, with which none of
/// ours decodes.
fn record_of(message: &BorrowedMessage<'_>) -> Option<Record> {
    let key = message.key().and_then(|key| key.try_into().ok());
    let at_ms = message.timestamp().to_millis();
    Some(Record {
        partition: Partition(u32::try_from(message.partition()).ok()?),
        offset: Offset(u64::try_from(message.offset()).ok()?),
        at_ms: at_ms.and_then(|ms| ms.try_into().ok()).unwrap_or(0),
        key: key.map_or(0, u64::from_be_bytes),
        body: message.payload().unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_skipped() {
        let says = |next, has| misses(Partition(3), Offset(next), has);
        assert_eq!(says(9, (9, 20)), None, "at the start");
        assert_eq!(says(20, (9, 20)), None, "at the end");
        let gone = says(5, (9, 20)).unwrap_or_default();
        assert!(
            gone.starts_with(
                "partition 3 goes on at offset 5, and the topic has 9 to 20: records were deleted"
            ),
            "{gone}"
        );
        for next in [21, u64::MAX] {
            let other = says(next, (0, 20)).unwrap_or_default();
            assert!(other.contains("made anew"), "{other}");
        }
    }
}
