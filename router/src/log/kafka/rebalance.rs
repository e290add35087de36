//! Partitions that come and go. librdkafka calls this while the consumer's thread polls: what goes is
//! applied and committed before another process has it, what comes begins where the group committed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::bounded;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::handover::Handover;
use super::health::{Health, code_of, log_line};
use super::marks::Marks;
use crate::log::{Fed, Partition};

/// How often the group's coordinator is asked where to begin, and for how long each time. If it does not
/// say, librdkafka asks by itself, and the consumer's thread mends what comes of that.
const COMMITTED_ASKS: u32 = 3;
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(4);

/// What the consumer's thread and librdkafka's calls share.
pub(super) struct Group {
    pub(super) topic: String,
    pub(super) handover: Arc<Handover>,
    pub(super) marks: Arc<Mutex<Marks>>,
    pub(super) health: Arc<Health>,
    pub(super) revoke_wait: Duration,
    /// Went away since the consumer's thread last looked: what it has gathered of them is void.
    pub(super) gone: Mutex<Vec<Partition>>,
    /// Counts what came, so that the thread pauses that too while the feeder is busy.
    pub(super) assigned: AtomicU64,
}

impl Group {
    pub(super) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the list of what went away.
    pub(super) fn take_gone(&self) -> Vec<Partition> {
        std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A list for librdkafka.
    pub(super) fn list(&self, offsets: &[(u32, Offset)]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, *partition as i32, *offset)?;
        }
        Ok(list)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, came: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions_of(came);
        let begin = match self.begin(consumer, came) {
            Some(begin) => begin,
            None => came.clone(),
        };
        for element in begin.elements() {
            let committed = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                _ => 0,
            };
            if let Ok(partition) = u32::try_from(element.partition()) {
                self.marks().assign(partition, committed);
            }
        }
        if !partitions.is_empty() {
            tracing::info!(?partitions, "kafka: partitions came");
            self.handover.put(Fed::Assigned(partitions));
        }
        self.assigned.fetch_add(1, Ordering::Release);
        consumer.incremental_assign(&begin)?;
        if begin.count() > 0 {
            // They may have been paused when they were last here.
            consumer.resume(&begin)?;
        }
        Ok(())
    }

    /// Where each begins: at the group's offset, at the beginning where it has none. Nothing where the
    /// coordinator does not say.
    fn begin(
        &self,
        consumer: &BaseConsumer<Self>,
        came: &TopicPartitionList,
    ) -> Option<TopicPartitionList> {
        for _ in 0..COMMITTED_ASKS {
            let asked = consumer.committed_offsets(came.clone(), COMMITTED_TIMEOUT);
            let known = asked.and_then(|known| {
                known
                    .elements()
                    .iter()
                    .try_for_each(|element| element.error())?;
                Ok(known)
            });
            match known {
                Ok(known) => {
                    known
                        .elements()
                        .iter_mut()
                        .filter(|element| element.offset() == Offset::Invalid)
                        .try_for_each(|element| element.set_offset(Offset::Beginning))
                        .ok()?;
                    return Some(known);
                }
                Err(error) => {
                    tracing::warn!(%error, "kafka: the group does not say what it committed");
                }
            }
        }
        None
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, goes: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions_of(goes);
        let lost = consumer.assignment_lost();
        self.handover.withdraw(&partitions);
        self.gone
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(&partitions);
        if !partitions.is_empty() {
            tracing::info!(?partitions, lost, "kafka: partitions go");
            if !lost {
                self.wait_until_applied(&partitions);
            }
            let done = self.unmark(&partitions);
            if lost {
                self.handover.put(Fed::Lost(partitions));
            } else if !done.is_empty() {
                // The next owner begins here; at worst it applies some again, which changes nothing.
                let commit = self
                    .list(&done)
                    .and_then(|list| consumer.commit(&list, CommitMode::Sync));
                if let Err(error) = commit {
                    tracing::warn!(%error, "kafka: what was applied could not be committed");
                }
            }
        }
        consumer.incremental_unassign(goes)
    }

    /// Has what was fed of them applied and [marked](crate::log::Log::set_watermark).
    fn wait_until_applied(&self, partitions: &[Partition]) {
        let (done, wait) = bounded(0);
        self.handover.put(Fed::Revoked {
            partitions: partitions.to_vec(),
            done,
        });
        if wait.recv_timeout(self.revoke_wait) == Err(crossbeam::channel::RecvTimeoutError::Timeout)
        {
            tracing::warn!(
                ?partitions,
                "kafka: partitions go before what was read of them is applied; their next owner \
                 applies it again"
            );
            self.handover.put(Fed::Lost(partitions.to_vec()));
        }
    }

    fn unmark(&self, partitions: &[Partition]) -> Vec<(u32, Offset)> {
        let mut marks = self.marks();
        let mut unmark = |partition: &Partition| Some((partition.0, marks.unassign(partition.0)?));
        let done = partitions.iter().filter_map(&mut unmark);
        done.map(|(partition, offset)| (partition, Offset::Offset(offset as i64)))
            .collect()
    }
}

/// Whether a partition, as librdkafka numbers it, is one of these.
pub(super) fn is_among(partition: i32, these: &[Partition]) -> bool {
    u32::try_from(partition).is_ok_and(|partition| these.contains(&Partition(partition)))
}

fn partitions_of(list: &TopicPartitionList) -> Vec<Partition> {
    let numbers = list
        .elements()
        .into_iter()
        .map(|element| element.partition());
    numbers
        .filter_map(|number| u32::try_from(number).ok().map(Partition))
        .collect()
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match code_of(&error) {
            // The consumer's thread finds out which partition it is.
            Code::AutoOffsetReset => tracing::debug!(reason, "kafka"),
            code => self.health.note_code(code, reason),
        }
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let outcome = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, ?list, "kafka: a rebalance failed");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut marks = self.marks();
        for element in offsets.elements() {
            let Ok(partition) = u32::try_from(element.partition()) else {
                continue;
            };
            match (&result, element.error(), element.offset()) {
                (Ok(()), Ok(()), Offset::Offset(offset)) => {
                    marks.committed(partition, u64::try_from(offset).unwrap_or(0));
                }
                _ => marks.refused(partition),
            }
        }
        drop(marks);
        match result {
            Ok(()) => self.health.reached(),
            // Told again at the next turn, if the partitions are still ours by then.
            Err(error) => tracing::debug!(%error, "kafka: a commit failed"),
        }
    }
}
