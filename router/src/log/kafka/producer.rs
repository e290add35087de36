//! Appends: an idempotent producer, one thread that polls it, one that answers. Not here: the consumer.
//!
//! The invariant: what `append` took is answered exactly once, also when the log closes while brokers
//! are away.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};

use super::answers::{Answer, Answers, Taken};
use super::floors::Floors;
use super::health::{Health, Trouble, code_of, log_line};
use super::held::Held;
use super::lanes::{Lanes, Pending};
use super::options::Options;
use super::timer::now;
use crate::ended::ended;
use crate::log::{Acks, AppendError, LogError, Offset, Partition, Ticket};

/// How long a poll may last; only the end of the log waits for it.
const POLL: Duration = Duration::from_millis(200);
/// How often the end of the last answers is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(2);
/// How long brokers are asked for the partitions.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);
/// What librdkafka takes to notice that a record's time is over.
const TIMEOUT_SLACK: Duration = Duration::from_secs(1);

const _: () = assert!(
    usize::BITS == 64,
    "a ticket travels through librdkafka as a pointer"
);

/// What librdkafka calls.
struct Reports {
    answers: Arc<Answers>,
    health: Arc<Health>,
    floors: Arc<Floors>,
    record_bytes_max: usize,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note_code(code_of(&error), reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let (message, outcome) = match result {
            Ok(message) => {
                let taken = taken(message.partition(), message.offset(), message.timestamp());
                (message, taken.and_then(|taken| self.check(taken)))
            }
            Err((error, message)) => {
                let error =
                    append_error(code_of(error), message.payload_len(), self.record_bytes_max);
                (message, Err(error))
            }
        };
        if outcome.is_ok() {
            self.health.reached();
            self.health.clear(&[Trouble::Forbidden, Trouble::NoTopic]);
        } else if let Err((error, _)) = result
            && let Some(trouble) = Trouble::of(code_of(error))
        {
            self.health
                .note(trouble, &format!("a record was refused: {error}"));
        }
        self.answers.push(Answer {
            ticket: ticket as Ticket,
            partition: Partition(u32::try_from(message.partition()).unwrap_or_default()),
            body: message.payload_len(),
            outcome,
        });
    }
}

impl Reports {
    /// Nothing is acked that the store would not take for this log's.
    fn check(&self, taken: Taken) -> Result<Taken, AppendError> {
        if let Err(floor) = self.floors.take(taken.partition, taken.offset) {
            let what = format!(
                "the brokers took a record at offset {} of partition {}, below {floor}, which was there \
                 before: the topic was made anew or cut off",
                taken.offset, taken.partition
            );
            self.health.end(Trouble::Mismatch, what);
        }
        match self.health.ended() {
            None => Ok(taken),
            Some(why) => Err(AppendError::Failed { reason: why.into() }),
        }
    }
}

/// Where a record that was taken lies. The brokers do not say it of a repetition that they recognise
/// after their memory of offsets (five requests) has moved on: then nobody knows here.
fn taken(partition: i32, offset: i64, at: Timestamp) -> Result<Taken, AppendError> {
    let at_ms = match at {
        Timestamp::LogAppendTime(ms) => u64::try_from(ms).unwrap_or(0),
        // This host's own.
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => 0,
    };
    match (u32::try_from(partition), u64::try_from(offset)) {
        (Ok(partition), Ok(offset)) => Ok(Taken {
            partition: Partition(partition),
            offset: Offset(offset),
            at_ms,
        }),
        _ => Err(AppendError::TimedOut {
            reason: "the record is there, and the brokers no longer know where".into(),
        }),
    }
}

/// The error of an append that librdkafka gave up.
pub(super) fn append_error(code: Code, bytes: usize, bytes_max: usize) -> AppendError {
    let reason = code.to_string();
    match code {
        Code::QueueFull => AppendError::Full,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            AppendError::TooLarge { bytes, bytes_max }
        }
        // It may have been sent before its time was over, or before the log closed.
        Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::OperationTimedOut
        | Code::NotEnoughReplicasAfterAppend
        | Code::PurgeInflight
        | Code::PurgeQueue => AppendError::TimedOut { reason },
        _ => AppendError::Failed { reason },
    }
}

type Threads = (JoinHandle<()>, JoinHandle<()>);

/// The way to the brokers, for whoever appends and for the thread that answers.
struct Outgoing {
    producer: BaseProducer<Reports>,
    lanes: Lanes,
    answers: Arc<Answers>,
    topic: String,
    record_bytes_max: usize,
}

impl Outgoing {
    fn send(&self, pending: &Pending) -> Result<(), AppendError> {
        let key = pending.key.to_be_bytes();
        let partition = i32::try_from(pending.partition.0).unwrap_or(i32::MAX);
        let record = BaseRecord::with_opaque_to(&self.topic, pending.ticket as usize)
            .partition(partition)
            .key(&key)
            .payload(&pending.body);
        self.producer.send(record).map_err(|(error, _)| {
            append_error(code_of(&error), pending.body.len(), self.record_bytes_max)
        })
    }

    fn append(&self, pending: Pending) -> Result<(), AppendError> {
        let length = pending.body.len();
        if length > self.record_bytes_max {
            return Err(AppendError::TooLarge {
                bytes: length,
                bytes_max: self.record_bytes_max,
            });
        }
        self.answers.held.take(length)?;
        self.lanes
            .append(pending, |pending| self.send(pending))
            .inspect_err(|_| self.answers.held.release(length))
    }

    /// What waited for this answer goes on its way, or is answered too.
    fn answered(&self, answer: &Answer) {
        if let Err(AppendError::TimedOut { .. }) = answer.outcome {
            self.lanes
                .give_up(answer.partition, |pending| self.refuse(pending, late()));
        }
        self.lanes.answered(
            answer.partition,
            |pending| self.send(pending),
            |pending, error| self.refuse(pending, error),
        );
    }

    fn refuse(&self, pending: Pending, error: AppendError) {
        self.answers.push(Answer {
            ticket: pending.ticket,
            partition: pending.partition,
            body: pending.body.len(),
            outcome: Err(error),
        });
    }

    /// Waits until everything is answered, and gives up what is not by then.
    fn drain(&self, patience: Duration) {
        let begun = now();
        while !self.answers.held.drained() {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                tracing::warn!("kafka: records are given up that were not delivered in time");
                self.lanes
                    .give_up_all(|pending| self.refuse(pending, late()));
                self.producer
                    .purge(PurgeConfig::default().queue().inflight());
                return;
            }
            // It returns at once when librdkafka has nothing, though more may wait in the lanes.
            if self.producer.flush(left.min(POLL)).is_ok() {
                std::thread::park_timeout(DRAIN_LOOK);
            }
        }
    }
}

/// It waited behind a record that the brokers did not take in time.
fn late() -> AppendError {
    AppendError::TimedOut {
        reason: "the records before it did not reach the brokers".into(),
    }
}

pub(super) struct Appender {
    outgoing: Arc<Outgoing>,
    service: String,
    delivery_timeout: Duration,
    threads: Mutex<Option<Threads>>,
}

impl Appender {
    pub(super) fn start(
        options: &Options,
        acks: Box<dyn Acks>,
        health: Arc<Health>,
        floors: Arc<Floors>,
    ) -> Result<Self, LogError> {
        let held = Held::new(options.queue_records_max, options.queue_bytes_max);
        let answers = Arc::new(Answers::new(held));
        let reports = Reports {
            answers: answers.clone(),
            health,
            floors,
            record_bytes_max: options.record_bytes_max,
        };
        let producer: BaseProducer<Reports> = options
            .producer()
            .create_with_context(reports)
            .map_err(|error| service_error(options, &error))?;
        let outgoing = Arc::new(Outgoing {
            producer,
            lanes: Lanes::new(),
            answers,
            topic: options.messages(),
            record_bytes_max: options.record_bytes_max,
        });
        let (polled, telling) = (outgoing.clone(), outgoing.clone());
        let poll = spawn(options, "rookery-log-poll", move || {
            while !polled.answers.held.drained() {
                polled.producer.poll(POLL);
            }
        })?;
        let acks = spawn(options, "rookery-log-acks", move || {
            let answered = |answer: &Answer| telling.answered(answer);
            telling.answers.run(acks, &answered);
        })?;
        Ok(Self {
            outgoing,
            service: options.service(),
            delivery_timeout: Duration::from_millis(options.delivery_timeout_ms.into()),
            threads: Mutex::new(Some((poll, acks))),
        })
    }

    /// Never blocks.
    pub(super) fn append(
        &self,
        partition: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError> {
        self.outgoing.append(Pending {
            partition,
            key,
            body,
            ticket,
        })
    }

    /// Learns of partitions that were added.
    pub(super) fn refresh(&self) -> Result<(), LogError> {
        let client = self.outgoing.producer.client();
        let found = client.fetch_metadata(Some(&self.outgoing.topic), REFRESH_TIMEOUT);
        found.map(drop).map_err(|error| LogError::Service {
            service: self.service.clone(),
            reason: error.to_string(),
        })
    }

    /// Why nothing is acked any more, where nobody asked for that.
    pub(super) fn ended(&self) -> Option<String> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let (poll, acks) = threads.as_ref()?;
        let died = self.outgoing.answers.died();
        died.map(|reason| LogError::Died(reason).to_string())
            .or_else(|| ended([poll, acks]))
    }

    /// Refuses more, waits until all is delivered or given up, and ends the threads.
    pub(super) fn close(&self) -> Result<(), LogError> {
        let threads = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((poll, acks)) = threads else {
            return Ok(());
        };
        self.outgoing.answers.close();
        self.outgoing.drain(self.delivery_timeout + TIMEOUT_SLACK);
        let joined = poll.join().and_then(|()| acks.join());
        match self.outgoing.answers.died() {
            Some(reason) => Err(LogError::Died(reason)),
            None => joined.map_err(|_| LogError::Died("it panicked while it ended".into())),
        }
    }
}

/// An error of a client that could not be made.
pub(super) fn service_error(options: &Options, error: &KafkaError) -> LogError {
    LogError::Service {
        service: options.service(),
        reason: error.to_string(),
    }
}

pub(super) fn spawn(
    options: &Options,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, LogError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| LogError::Service {
            service: options.service(),
            reason: format!("the thread {name} cannot be started: {error}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_sent_is_told_apart_from_what_was_refused() {
        assert_eq!(append_error(Code::QueueFull, 1, 2), AppendError::Full);
        let too_large = AppendError::TooLarge {
            bytes: 3,
            bytes_max: 2,
        };
        assert_eq!(append_error(Code::MessageSizeTooLarge, 3, 2), too_large);
        for code in [
            Code::MessageTimedOut,
            Code::PurgeInflight,
            Code::NotEnoughReplicasAfterAppend,
        ] {
            assert!(matches!(
                append_error(code, 1, 2),
                AppendError::TimedOut { .. }
            ));
        }
        let forbidden = append_error(Code::TopicAuthorizationFailed, 1, 2);
        assert!(matches!(forbidden, AppendError::Failed { .. }));
    }

    #[test]
    fn a_place_that_nobody_knows_is_not_made_up() {
        let place = |taken: Taken| (taken.partition, taken.offset, taken.at_ms);
        let at = |offset, at| taken(3, offset, at).map(place);
        let (ours, theirs) = (Timestamp::CreateTime(7), Timestamp::LogAppendTime(7));
        assert_eq!(at(4, ours), Ok((Partition(3), Offset(4), 0)));
        assert_eq!(at(4, theirs), Ok((Partition(3), Offset(4), 7)));
        assert!(at(-1001, theirs).is_err());
    }
}
