//! The topics: makes what is missing, adds partitions, and looks whether they are there. Nothing else of
//! what is there is altered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;

use super::health::{Trouble, code_of, log_line};
use super::options::Options;
use super::producer::service_error;
use super::timer::now;
use crate::log::LogError;

/// Partitions of a new topic of messages. Each is consumed by one process: 12 divides evenly among 2, 3, 4,
/// 6 and 12 of them.
pub const PARTITIONS: u32 = 12;
/// Copies of a record on a cluster of three brokers or more: one may be lost while another is away.
pub const REPLICATION: u32 = 3;

/// How long brokers are waited for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Another broker is asked after so long when one went away instead of answering.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How often a topic is looked for that a broker does not know: where it was made just now, brokers hear of it
/// one after the other.
const TOPIC_ASKS: u32 = 8;
/// How often is asked whether a new topic has leaders.
const LEADER_ASKS: u32 = 20;

/// What a client without a group hears of its brokers.
#[derive(Clone, Default)]
pub(super) struct Hearsay(Arc<Mutex<Vec<(Code, String)>>>);

impl ClientContext for Hearsay {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push((code_of(&error), reason.to_owned()));
    }
}

impl ConsumerContext for Hearsay {}

/// Asks the brokers about a topic. An error says what kept them from answering.
pub(super) fn metadata(options: &Options, topic: &str) -> Result<Metadata, (Trouble, String)> {
    let hearsay = Hearsay::default();
    let heard = hearsay.0.clone();
    let unreachable = |error: KafkaError| (Trouble::Unreachable, error.to_string());
    let client: BaseConsumer<Hearsay> = options
        .client()
        .create_with_context(hearsay)
        .map_err(unreachable)?;
    let begun = now();
    let mut answer = client.fetch_metadata(Some(topic), TIMEOUT);
    while let Err(error) = &answer
        && code_of(error) == Code::BrokerTransportFailure
        && let Some(left) = TIMEOUT.checked_sub(begun.elapsed())
        && left > ASK_AGAIN * 2
    {
        // The broker that was asked went away; another one can tell.
        std::thread::park_timeout(ASK_AGAIN);
        answer = client.fetch_metadata(Some(topic), left);
    }
    answer.map_err(|error| {
        // The reasons wait to be polled.
        for _ in 0..64 {
            drop(client.poll(Duration::ZERO));
        }
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |wanted: Trouble| {
            let mut lines = heard
                .iter()
                .filter(|(code, _)| Trouble::of(*code) == Some(wanted));
            lines
                .next_back()
                .map(|(_, reason)| (wanted, reason.clone()))
        };
        told(Trouble::Credentials)
            .or_else(|| told(Trouble::Forbidden))
            .unwrap_or_else(|| {
                let last = heard
                    .iter()
                    .rfind(|(code, _)| *code != Code::AllBrokersDown);
                let reason = last.map_or_else(|| error.to_string(), |(_, reason)| reason.clone());
                (Trouble::Unreachable, reason)
            })
    })
}

/// What the brokers say of a topic, when it cannot be used.
pub(super) fn refusal(metadata: &Metadata, name: &str) -> Option<(Trouble, String)> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let code = match topic.map(|topic| topic.error()) {
        None => Code::UnknownTopicOrPartition,
        Some(Some(error)) => error.into(),
        Some(None) => return None,
    };
    match Trouble::of(code) {
        Some(Trouble::NoTopic) => Some((Trouble::NoTopic, format!("there is no topic {name}"))),
        trouble => Some((
            trouble.unwrap_or(Trouble::Unreachable),
            format!("the topic {name} cannot be used: {code}"),
        )),
    }
}

/// Refuses to begin without both topics.
pub(super) fn expect(options: &Options) -> Result<(), LogError> {
    expect_one(options, &options.dead_letters())?;
    expect_one(options, &options.messages())
}

fn expect_one(options: &Options, name: &str) -> Result<(), LogError> {
    let ask = || {
        let metadata = metadata(options, name)?;
        refusal(&metadata, name).map_or(Ok(()), Err)
    };
    let mut found = ask();
    for _ in 1..TOPIC_ASKS {
        if !matches!(found, Err((Trouble::NoTopic, _))) {
            break;
        }
        std::thread::park_timeout(ASK_AGAIN);
        found = ask();
    }
    found.map_err(|(trouble, what)| LogError::Service {
        service: options.service(),
        reason: format!("{what}. {}", trouble.advice()),
    })
}

/// Whether no message was ever appended: each partition has a genesis at most. Blocks for some seconds at most.
pub fn is_empty(options: &Options) -> Result<bool, LogError> {
    let refuse = |error: KafkaError| LogError::Service {
        service: options.service(),
        reason: error.to_string(),
    };
    let topic = options.messages();
    let client: BaseConsumer<Hearsay> = options
        .client()
        .create_with_context(Hearsay::default())
        .map_err(refuse)?;
    let metadata = client
        .fetch_metadata(Some(&topic), TIMEOUT)
        .map_err(refuse)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    for partition in found.into_iter().flat_map(|found| found.partitions()) {
        let marks = client.fetch_watermarks(&topic, partition.id(), TIMEOUT);
        let (_, end) = marks.map_err(refuse)?;
        if end > 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The topics that [`ensure`] would make. Blocks for some seconds.
pub fn missing(options: &Options) -> Result<Vec<String>, LogError> {
    options.check()?;
    let mut missing = Vec::new();
    for name in [options.messages(), options.dead_letters()] {
        let refused = match metadata(options, &name) {
            Ok(metadata) => refusal(&metadata, &name),
            Err(trouble) => Some(trouble),
        };
        match refused {
            None => {}
            Some((Trouble::NoTopic, _)) => missing.push(name),
            Some((trouble, what)) => {
                return Err(LogError::Service {
                    service: options.service(),
                    reason: format!("{what}. {}", trouble.advice()),
                });
            }
        }
    }
    Ok(missing)
}

/// Makes the topics that are missing, and gives their names. `partitions` is for the messages; the dead
/// letters have one. Blocks for some seconds.
pub fn ensure(
    options: &Options,
    partitions: u32,
    replication: u32,
) -> Result<Vec<String>, LogError> {
    options.check()?;
    let missing = missing(options)?;
    if missing.is_empty() {
        return Ok(missing);
    }
    let partitions_of = |name: &str| match name == options.messages() {
        true => partitions,
        false => 1,
    };
    let new: Vec<(&str, u32)> = missing
        .iter()
        .map(|name| (name.as_str(), partitions_of(name)))
        .collect();
    create(options, &new, replication)?;
    for name in &missing {
        wait_for_leaders(options, name, 1).map_err(|reason| LogError::Service {
            service: options.service(),
            reason,
        })?;
    }
    Ok(missing)
}

fn create(options: &Options, missing: &[(&str, u32)], replication: u32) -> Result<(), LogError> {
    let admin: AdminClient<Hearsay> = options
        .client()
        .create_with_context(Hearsay::default())
        .map_err(|error| service_error(options, &error))?;
    let copies = replication as i32;
    let bytes_max = options.message_bytes_max().max(1 << 20).to_string();
    let min_in_sync = if replication >= 3 { "2" } else { "1" };
    let new = missing.iter().map(|(name, partitions)| {
        NewTopic::new(name, *partitions as i32, TopicReplication::Fixed(copies))
            // An ack means two copies on disk or in memory of two machines, where there are three.
            .set("min.insync.replicas", min_in_sync)
            // Rather no leader than one that has not what was acked.
            .set("unclean.leader.election.enable", "false")
            // Never the last record of a key only, and nothing by age: the store is made from the log.
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            // Brokers refuse records whose producer's clock is an hour ahead; the log needs none of them.
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", &bytes_max)
    });
    let new: Vec<_> = new.collect();
    let patience = AdminOptions::new()
        .request_timeout(Some(TIMEOUT * 2))
        .operation_timeout(Some(TIMEOUT));
    let made = block_on(admin.create_topics(&new, &patience))
        .map_err(|error| service_error(options, &error))?;
    for topic in made {
        match topic {
            // Somebody else was faster.
            Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let advice = match code {
                    Code::InvalidReplicationFactor => format!(
                        ": {replication} copies need as many brokers; start them, or ask for fewer \
                         copies where losing acked messages does not matter"
                    ),
                    _ => Trouble::of(code).map_or(String::new(), |t| format!(". {}", t.advice())),
                };
                return Err(LogError::Service {
                    service: options.service(),
                    reason: format!("the topic {name} cannot be made: {code}{advice}"),
                });
            }
        }
    }
    Ok(())
}

/// Adds partitions to the messages' topic until it has so many, where it has fewer. Whoever uses them is
/// to be told by other means: see [`Placement`](crate::placement::Placement). Blocks for some seconds.
pub fn grow(options: &Options, partitions: u32) -> Result<(), LogError> {
    let topic = options.messages();
    let admin: AdminClient<Hearsay> = options
        .client()
        .create_with_context(Hearsay::default())
        .map_err(|error| service_error(options, &error))?;
    let patience = AdminOptions::new()
        .request_timeout(Some(TIMEOUT * 2))
        .operation_timeout(Some(TIMEOUT));
    let refuse = |reason: String| LogError::Service {
        service: options.service(),
        reason,
    };
    let new = NewPartitions::new(&topic, partitions as usize);
    let grown = block_on(admin.create_partitions([&new], &patience))
        .map_err(|error| service_error(options, &error))?;
    for outcome in grown {
        match outcome {
            // Somebody else was faster.
            Ok(_) | Err((_, Code::InvalidPartitions)) => {}
            Err((_, code)) => {
                let advice = Trouble::of(code).map_or("", Trouble::advice);
                let what = format!("partitions of {topic} cannot be added: {code}. {advice}");
                return Err(refuse(what.trim_end().to_owned()));
            }
        }
    }
    wait_for_leaders(options, &topic, partitions as usize).map_err(refuse)
}

/// A topic is there before its partitions have leaders.
fn wait_for_leaders(options: &Options, name: &str, partitions_min: usize) -> Result<(), String> {
    for _ in 0..LEADER_ASKS {
        let ready = metadata(options, name).is_ok_and(|metadata| {
            metadata.topics().iter().any(|topic| {
                topic.name() == name
                    && topic.error().is_none()
                    && topic
                        .partitions()
                        .iter()
                        .all(|partition| partition.leader() >= 0)
                    && topic.partitions().len() >= partitions_min
            })
        });
        if ready {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(250));
    }
    Err(format!(
        "the topic {name} was made, and its partitions have no leaders yet; look again later"
    ))
}
