//! Partitions that come and go. librdkafka calls this while the consumer's thread polls: what goes is
//! applied and committed before another process has it, what comes is paused until the router says where
//! it begins. What the group committed is for people to look at: nothing begins by it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::bounded;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::begins::Begins;
use super::handover::Handover;
use super::health::{Health, code_of, log_line};
use super::marks::Marks;
use crate::log::{Fed, Partition};

/// What the consumer's thread and librdkafka's calls share.
pub(super) struct Group {
    pub(super) topic: String,
    pub(super) handover: Arc<Handover>,
    pub(super) marks: Arc<Mutex<Marks>>,
    pub(super) health: Arc<Health>,
    pub(super) revoke_wait: Duration,
    /// Went away since the consumer's thread last looked: what it has gathered of them is void.
    pub(super) gone: Mutex<Vec<Partition>>,
    /// What is not read yet.
    pub(super) begins: Begins,
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

    /// What came is paused until it is told where it begins.
    fn assign(&self, consumer: &BaseConsumer<Self>, came: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions_of(came);
        // A number, since librdkafka would look a word (the end, the beginning) up in its own time, and go
        // there half a second after it was told another place. Nothing is read at it.
        let paused: Vec<_> = partitions
            .iter()
            .map(|it| (it.0, Offset::Offset(0)))
            .collect();
        // Before it can fetch, and again should the assignment have let go of that.
        consumer.pause(&self.list(&paused)?)?;
        let paused = self.list(&paused)?;
        consumer.incremental_assign(&paused)?;
        if partitions.is_empty() {
            return Ok(());
        }
        tracing::info!(?partitions, "kafka: partitions came");
        let begin = self.begins.expect(partitions.clone());
        consumer.pause(&paused)?;
        self.handover.put(Fed::Assigned { partitions, begin });
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, goes: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions_of(goes);
        let lost = consumer.assignment_lost();
        self.begins.forget(&partitions);
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
