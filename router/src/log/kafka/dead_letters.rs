//! Where records go that cannot be applied: their bytes as they were, with where they lay and why. A
//! producer of its own, made when the first one comes, since there should be none.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};

use super::health::{code_of, log_line};
use super::options::Options;
use super::producer::append_error;
use crate::log::AppendError;

const POLL: Duration = Duration::from_millis(10);
/// Polls after the delivery's time is over, for librdkafka to say so.
const POLLS_OVER: u32 = 200;

/// A record that cannot be applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter<'a> {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) key: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) reason: &'a str,
}

struct Reports;

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka: dead letters");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tell: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever waited may have gone.
        drop(tell.send(outcome));
    }
}

pub(super) struct DeadLetters {
    options: Options,
    producer: Mutex<Option<BaseProducer<Reports>>>,
}

impl DeadLetters {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            producer: Mutex::new(None),
        }
    }

    /// Durable when it returns; takes the delivery's time at most. The same letter may be kept twice:
    /// after an error, and when its partition is consumed again from before it.
    pub(super) fn bury(&self, letter: Letter<'_>) -> Result<(), AppendError> {
        let delivery = Duration::from_millis(self.options.delivery_timeout_ms.into());
        let at_most = delivery + POLL * POLLS_OVER;
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = match &mut *producer {
            Some(producer) => producer,
            none => none.insert(self.make()?),
        };
        let outcome = self.send(producer, letter, at_most);
        if outcome.is_ok() {
            let Letter {
                partition,
                offset,
                reason,
                ..
            } = letter;
            tracing::error!(
                partition,
                offset,
                reason,
                "a record went to the dead letters"
            );
        }
        outcome
    }

    fn make(&self) -> Result<BaseProducer<Reports>, AppendError> {
        let mut config = self.options.producer();
        config.set("linger.ms", "0");
        config
            .create_with_context(Reports)
            .map_err(|error| AppendError::Failed {
                reason: error.to_string(),
            })
    }

    fn send(
        &self,
        producer: &BaseProducer<Reports>,
        letter: Letter<'_>,
        at_most: Duration,
    ) -> Result<(), AppendError> {
        let topic = self.options.dead_letters();
        let (tell, told) = bounded(1);
        let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
        let headers = [
            ("partition", &*partition),
            ("offset", &*offset),
            ("reason", letter.reason),
        ]
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let record = BaseRecord::with_opaque_to(&topic, Box::new(tell))
            .key(letter.key)
            .payload(letter.body)
            .headers(headers);
        let to_error = |error: &KafkaError| {
            append_error(
                code_of(error),
                letter.body.len(),
                self.options.record_bytes_max,
            )
        };
        producer
            .send(record)
            .map_err(|(error, _)| to_error(&error))?;
        for _ in 0..at_most.as_millis() / POLL.as_millis() {
            producer.poll(POLL);
            if let Ok(outcome) = told.try_recv() {
                return outcome.map_err(|error| to_error(&error));
            }
        }
        producer.purge(PurgeConfig::default().queue().inflight());
        producer.poll(POLL);
        Err(AppendError::TimedOut {
            reason: format!("the topic {topic} did not take a dead letter in time"),
        })
    }
}
