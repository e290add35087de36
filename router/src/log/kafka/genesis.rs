//! The beginnings of the partitions, read and written: [`identity`](crate::identity) says what they mean.
//!
//! Whoever writes one looks what stands at offset 0 afterwards. So of two who make or grow a log at once
//! one wins, and both go on with what the winner wrote; the other's record lies behind it and counts for
//! nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset as At, TopicPartitionList};

use super::options::Options;
use super::producer::service_error;
use super::timer::now;
use super::topics::{Hearsay, TIMEOUT};
use crate::identity::First;
use crate::log::LogError;
use crate::record::{self, Genesis};

/// How long a poll lasts.
const POLL: Duration = Duration::from_millis(100);
/// How long all beginnings may take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Asks for beginnings, as often as one likes.
pub struct Beginnings {
    options: Options,
    topic: String,
    consumer: BaseConsumer<Hearsay>,
}

impl Beginnings {
    /// Of the messages' topic. Asks nobody yet.
    pub fn new(options: &Options) -> Result<Self, LogError> {
        let mut config = options.client();
        config
            .set("group.id", options.group())
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            // One record of each is wanted, and no more than it takes to have one.
            .set("fetch.message.max.bytes", "4096")
            .set("queued.min.messages", "1");
        let consumer = config
            .create_with_context(Hearsay::default())
            .map_err(|error| service_error(options, &error))?;
        Ok(Self {
            options: options.clone(),
            topic: options.messages(),
            consumer,
        })
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> Result<u32, LogError> {
        let refuse = |error: KafkaError| service_error(&self.options, &error);
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), TIMEOUT);
        let metadata = metadata.map_err(refuse)?;
        let topic = metadata.topics().first();
        let found = topic.filter(|topic| topic.error().is_none());
        match found.map(|topic| topic.partitions().len()) {
            Some(partitions @ 1..) => Ok(partitions as u32),
            _ => Err(self.wrong(format!("the topic {} cannot be read", self.topic))),
        }
    }

    /// What each partition begins with, by number. Blocks for some seconds.
    pub fn all(&self) -> Result<Vec<First>, LogError> {
        let partitions = self.partitions()?;
        self.of(0..partitions)
    }

    /// What some partitions begin with, in their order.
    pub fn of(&self, numbers: std::ops::Range<u32>) -> Result<Vec<First>, LogError> {
        let refuse = |error: KafkaError| service_error(&self.options, &error);
        let (mut found, mut asked) = (BTreeMap::new(), TopicPartitionList::new());
        for number in numbers.clone() {
            let has = self
                .consumer
                .fetch_watermarks(&self.topic, number as i32, TIMEOUT);
            match has.map_err(refuse)? {
                (_, 0) => drop(found.insert(number, First::Nothing)),
                (0, _) => asked
                    .add_partition_offset(&self.topic, number as i32, At::Offset(0))
                    .map_err(refuse)?,
                _ => drop(found.insert(number, First::Gone)),
            }
        }
        self.consumer.assign(&asked).map_err(refuse)?;
        let begun = now();
        while found.len() < numbers.len() {
            if begun.elapsed() > READ_TIMEOUT {
                let what = "the beginnings of the partitions cannot be read in time";
                return Err(self.wrong(what.into()));
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let number = message.partition() as u32;
                    let first = first(message.offset(), message.payload());
                    found.entry(number).or_insert(first);
                }
                // Brokers come and go; the time is bounded.
                Some(Err(error)) => tracing::debug!(%error, "kafka: the beginnings"),
                None => {}
            }
        }
        self.consumer.unassign().map_err(refuse)?;
        Ok(found.into_values().collect())
    }

    fn wrong(&self, reason: String) -> LogError {
        LogError::Service {
            service: self.options.service(),
            reason,
        }
    }
}

fn first(offset: i64, body: Option<&[u8]>) -> First {
    match record::decode(body.unwrap_or_default()) {
        _ if offset != 0 => First::Gone,
        Ok(record::Record::Genesis(genesis)) => First::Genesis(genesis),
        _ => First::Foreign,
    }
}

/// Appends geneses, each to its partition; durable when it returns.
pub fn write_geneses(options: &Options, geneses: &[Genesis]) -> Result<(), LogError> {
    let refuse = |error: KafkaError| service_error(options, &error);
    let refused: std::sync::Arc<Mutex<Option<KafkaError>>> = std::sync::Arc::default();
    let producer: BaseProducer<Refusals> = options
        .producer()
        .create_with_context(Refusals(refused.clone()))
        .map_err(refuse)?;
    let topic = options.messages();
    for genesis in geneses {
        let body = genesis.encode();
        let record = BaseRecord::to(&topic)
            .partition(genesis.partition as i32)
            .key(&[0; 8])
            .payload(&body);
        producer.send(record).map_err(|(error, _)| refuse(error))?;
    }
    let delivery = Duration::from_millis(options.delivery_timeout_ms.into());
    producer.flush(delivery + TIMEOUT).map_err(refuse)?;
    let refused = refused
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    refused.map_or(Ok(()), |error| Err(refuse(error)))
}

/// Hears of records that were not taken.
struct Refusals(std::sync::Arc<Mutex<Option<KafkaError>>>);

impl rdkafka::ClientContext for Refusals {}

impl rdkafka::producer::ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut refused = self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            refused.get_or_insert(error.clone());
        }
    }
}
