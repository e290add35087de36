//! The consumer's thread: polls without a pause, gathers records into batches of one partition, commits
//! what the store has, and finds out what a stuck partition lacks. What it gathers goes to the feeder's
//! thread, which may block: then the partitions are paused, and the polling keeps this process in its
//! group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Offset as At;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};

use super::dead_letters::{DeadLetters, Letter};
use super::health::{Trouble, code_of};
use super::rebalance::Group;
use super::standing::{self, Standing};
use super::stuck::Stuck;
use super::timer::now;
use crate::log::{Fed, Offset, Partition, Record};

/// A batch's records and bytes at most, over all partitions.
const BATCH_RECORDS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long a poll waits for the first record; commits are at most so late.
const POLL: Duration = Duration::from_millis(250);
/// The same while the feeder is busy: it may be ready again soon.
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
    dead_letters: Arc<DeadLetters>,
    closing: Arc<AtomicBool>,
    gathered: BTreeMap<Partition, Vec<Record>>,
    /// Which assignment was paused; none while nothing is.
    paused: Option<u64>,
    standing: Standing,
    stuck: Stuck,
    committed_at: Instant,
    looked_at: Instant,
}

impl Consuming {
    pub(super) fn new(
        consumer: BaseConsumer<Group>,
        dead_letters: Arc<DeadLetters>,
        closing: Arc<AtomicBool>,
    ) -> Self {
        Self {
            consumer,
            dead_letters,
            closing,
            gathered: BTreeMap::new(),
            paused: None,
            standing: Standing::default(),
            stuck: Stuck::default(),
            committed_at: now(),
            looked_at: now(),
        }
    }

    /// Until the log closes or nobody consumes any more. At the end the group is left in order: what was
    /// fed is applied and committed first.
    pub(super) fn run(mut self) {
        let group = self.consumer.context().clone();
        while !self.closing.load(Ordering::Acquire) && !group.handover.is_abandoned() {
            let busy = !group.handover.wait_for_room(match self.paused {
                None => PATIENCE,
                Some(_) => Duration::ZERO,
            });
            let outcome = self
                .pause_or_resume(&group, busy)
                .and_then(|()| self.try_letters(&group))
                .and_then(|()| self.gather(&group, if busy { POLL_BUSY } else { POLL }))
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
        let assigned = group.assigned.load(Ordering::Acquire);
        if busy && self.paused != Some(assigned) {
            self.consumer.pause(&self.consumer.assignment()?)?;
            self.paused = Some(assigned);
            tracing::debug!("kafka: what was read is not applied yet; the partitions are paused");
        } else if !busy && self.paused.take().is_some() {
            self.consumer.resume(&self.consumer.assignment()?)?;
        }
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
            self.standing.forget(&gone);
            self.stuck.forget(&gone);
            match polled {
                None => break,
                Some(Err(error)) => {
                    outcome = Err(error);
                    break;
                }
                Some(Ok(message)) => {
                    records += 1;
                    bytes += message.payload_len();
                    match record_of(&message) {
                        _ if self
                            .standing
                            .is_ahead(message.partition(), message.offset()) => {}
                        Some(record) => {
                            self.gathered
                                .entry(record.partition)
                                .or_default()
                                .push(record);
                        }
                        None => {
                            let foreign = message.detach();
                            drop(message);
                            outcome = self.bury(group, &foreign);
                        }
                    }
                }
            }
            if outcome.is_err() {
                break;
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

    /// Not of our making: its key is no conversation. If it cannot be kept either it is read again, and
    /// nothing of its partition is fed meanwhile.
    fn bury(&mut self, group: &Group, message: &OwnedMessage) -> KafkaResult<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let letter = Letter {
            partition: u32::try_from(partition).unwrap_or_default(),
            offset: u64::try_from(offset).unwrap_or_default(),
            key: message.key().unwrap_or_default(),
            body: message.payload().unwrap_or_default(),
            reason: "the key is not the 8 bytes of a conversation's id",
        };
        if self.standing.may_try(now()) {
            match self.dead_letters.bury_within(letter, standing::TRY) {
                Ok(()) => {
                    if self.standing.kept(partition) {
                        group.health.clear(&[Trouble::DeadLetters]);
                    }
                    return Ok(());
                }
                Err(error) => {
                    let what = format!(
                        "a dead letter of partition {} cannot be kept: {error}",
                        letter.partition
                    );
                    group.health.note(Trouble::DeadLetters, &what);
                    self.standing.failed(now());
                }
            }
        }
        // Also where the seek fails: what comes of the partition is dropped until it is at the letter.
        self.standing.stand(partition, offset);
        let place = group.list(&[(letter.partition, At::Offset(offset))])?;
        self.consumer
            .seek(&group.topic, partition, At::Offset(offset), LOOK_TIMEOUT)?;
        self.consumer.pause(&place)
    }

    /// Has the partitions read again that stand at a letter, when it is time to try it again.
    fn try_letters(&mut self, group: &Group) -> KafkaResult<()> {
        for (partition, offset) in self.standing.take_due(now()) {
            let at = At::Offset(offset);
            let place = group.list(&[(u32::try_from(partition).unwrap_or_default(), at)])?;
            self.consumer
                .seek(&group.topic, partition, at, LOOK_TIMEOUT)?;
            if self.paused.is_none() {
                self.consumer.resume(&place)?;
            }
        }
        Ok(())
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
                group
                    .health
                    .note(Trouble::Fatal, &format!("the consumer stopped: {code}"));
            }
            (_, Code::AutoOffsetReset) => {
                group.health.note(
                    Trouble::OffsetGone,
                    "a partition has not the offset to go on at",
                );
                self.stuck.stopped();
                self.look_at_offsets(group);
            }
            // Told by `Group::error` already, with more words.
            (KafkaError::MessageConsumption(_), _) => {}
            (error, _) => tracing::warn!(%error, "kafka: the consumer goes on after an error"),
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
            if group.health.has(Trouble::OffsetGone) {
                self.look_at_offsets(group);
            }
        }
        self.looked_at = now();
    }

    /// Says which partitions are stuck, and sets those going that only did not know where to begin.
    fn look_at_offsets(&mut self, group: &Group) {
        let standing = &self.standing;
        match self
            .stuck
            .find(&self.consumer, group, standing, LOOK_TIMEOUT)
        {
            Ok(stuck) if stuck.is_empty() => group.health.clear(&[Trouble::OffsetGone]),
            Ok(stuck) => group.health.note(Trouble::OffsetGone, &stuck.join("; ")),
            Err(error) => tracing::debug!(%error, "kafka: the offsets cannot be looked at"),
        }
    }
}

/// A record of ours; none where the key is not a conversation's.
fn record_of(message: &BorrowedMessage<'_>) -> Option<Record> {
    Some(Record {
        partition: Partition(u32::try_from(message.partition()).ok()?),
        offset: Offset(u64::try_from(message.offset()).ok()?),
        key: u64::from_be_bytes(message.key()?.try_into().ok()?),
        body: message.payload().unwrap_or_default().to_vec(),
    })
}
