//! A Kafka log whose records are applied at once, and clients of the tests' own beside it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::DefaultClientContext;
use rookery_router::log::kafka::{self, KafkaLog};
use rookery_router::log::{Acks, AppendError, Fed, Feed, Log, Offset, Partition, Ticket};

use super::{PATIENCE, partition_of};

/// Passes answers on.
pub(crate) struct Answered(pub(crate) Sender<Result<(Partition, Offset), AppendError>>);

impl Acks for Answered {
    fn acked(&mut self, _ticket: Ticket, partition: Partition, offset: Offset, _at_ms: u64) {
        drop(self.0.send(Ok((partition, offset))));
    }
    fn failed(&mut self, _ticket: Ticket, error: &AppendError) {
        drop(self.0.send(Err(error.clone())));
    }
}

pub(crate) type Answers = Receiver<Result<(Partition, Offset), AppendError>>;

/// How far each partition of a topic is applied, as a store that all processes share knows it.
#[derive(Clone, Default)]
pub(crate) struct Positions(Arc<Mutex<HashMap<Partition, Offset>>>);

impl Positions {
    pub(crate) fn of(&self, partitions: &[Partition]) -> Vec<(Partition, Offset)> {
        let positions = self.0.lock().unwrap();
        let of = |it: &Partition| (*it, positions.get(it).copied().unwrap_or_default());
        partitions.iter().map(of).collect()
    }
    /// It only grows.
    pub(crate) fn reach(&self, partition: Partition, next: Offset) {
        let mut positions = self.0.lock().unwrap();
        let position = positions.entry(partition).or_default();
        *position = (*position).max(next);
    }
    /// Makes it another one.
    pub(crate) fn set(&self, partition: Partition, next: Offset) {
        self.0.lock().unwrap().insert(partition, next);
    }
}

/// Those of a topic, for all logs of it in this process.
pub(crate) fn positions(options: &kafka::Options) -> Positions {
    static ALL: OnceLock<Mutex<HashMap<String, Positions>>> = OnceLock::new();
    let topic = format!("{}/{}", options.brokers.join(","), options.messages());
    let mut all = ALL.get_or_init(Mutex::default).lock().unwrap();
    all.entry(topic).or_default().clone()
}

/// Applies records by writing down where they lie, and marks them at once, as the router does.
#[derive(Clone, Default)]
pub(crate) struct Applied {
    places: Arc<Mutex<Vec<(Partition, Offset)>>>,
    positions: Positions,
    pub(crate) log: Arc<OnceLock<Arc<KafkaLog>>>,
}

impl Applied {
    pub(crate) fn of(options: &kafka::Options) -> Applied {
        Applied {
            positions: positions(options),
            ..Applied::default()
        }
    }
    pub(crate) fn places(&self) -> Vec<(Partition, Offset)> {
        self.places.lock().unwrap().clone()
    }
    pub(crate) fn count(&self) -> usize {
        self.places.lock().unwrap().len()
    }
}

impl Feed for Applied {
    fn feed(&mut self, fed: Fed) -> bool {
        if let Fed::Assigned { partitions, begin } = fed {
            begin.send(self.positions.of(&partitions)).unwrap();
        } else if let Fed::Records(records) = fed {
            let last = records.last().unwrap();
            let mark = (last.partition, last.offset.plus(1));
            let places = records
                .iter()
                .map(|record| (record.partition, record.offset));
            self.places.lock().unwrap().extend(places);
            self.positions.reach(mark.0, mark.1);
            self.log.wait().set_watermark(mark.0, mark.1);
        }
        true
    }
}

/// Opens a log whose records are applied and marked at once.
pub(crate) fn open(options: &kafka::Options) -> (Arc<KafkaLog>, Applied, Answers) {
    let applied = Applied::of(options);
    let (answered, answers) = channel();
    let acks = Box::new(Answered(answered));
    let log = kafka::open(options.clone(), acks, Box::new(applied.clone())).unwrap();
    let log = Arc::new(log);
    applied.log.set(log.clone()).unwrap();
    (log, applied, answers)
}

/// Ends a log that [`open`] made; the applier holds it too.
pub(crate) fn close(log: &KafkaLog) {
    log.close().unwrap();
}

pub(crate) fn wait(what: &str, ready: impl Fn() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < patience, "waited for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A client of the tests' own.
pub(crate) fn client(options: &kafka::Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.brokers.join(","))
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", options.username.as_deref().unwrap())
        .set("sasl.password", options.password.as_deref().unwrap());
    config
}

pub(crate) fn admin(options: &kafka::Options) -> AdminClient<DefaultClientContext> {
    client(options).create().unwrap()
}

pub(crate) fn patience() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

pub(crate) fn make_topic(options: &kafka::Options, topic: NewTopic<'_>) {
    let made = futures_executor::block_on(admin(options).create_topics([&topic], &patience()));
    made.unwrap().pop().unwrap().unwrap();
}

/// Appends so many records and waits for their answers.
pub(crate) fn append(
    log: &KafkaLog,
    answers: &Answers,
    keys: std::ops::Range<u64>,
) -> Vec<(Partition, Offset)> {
    let count = keys.clone().count();
    keys.for_each(|key| {
        let body = key.to_string().into_bytes();
        log.append(partition_of(key), key, body, key).unwrap();
    });
    let answered = (0..count).map(|_| answers.recv_timeout(PATIENCE).unwrap().unwrap());
    answered.collect()
}
