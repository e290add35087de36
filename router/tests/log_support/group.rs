//! A Kafka log whose records are applied at once, and clients of the tests' own beside it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::DefaultClientContext;
use rookery_router::log::kafka::{self, KafkaLog};
use rookery_router::log::{Acks, AppendError, Fed, Feed, Log, Offset, Partition, Ticket};

use super::PATIENCE;

/// Passes answers on.
pub(crate) struct Answered(pub(crate) Sender<Result<(Partition, Offset), AppendError>>);

impl Acks for Answered {
    fn acked(&mut self, _ticket: Ticket, partition: Partition, offset: Offset) {
        drop(self.0.send(Ok((partition, offset))));
    }
    fn failed(&mut self, _ticket: Ticket, error: &AppendError) {
        drop(self.0.send(Err(error.clone())));
    }
}

pub(crate) type Answers = Receiver<Result<(Partition, Offset), AppendError>>;

/// Applies records by writing down where they lie, and marks them at once, as the router does.
#[derive(Clone, Default)]
pub(crate) struct Applied {
    places: Arc<Mutex<Vec<(Partition, Offset)>>>,
    pub(crate) log: Arc<OnceLock<Arc<KafkaLog>>>,
}

impl Applied {
    pub(crate) fn places(&self) -> Vec<(Partition, Offset)> {
        self.places.lock().unwrap().clone()
    }
    pub(crate) fn count(&self) -> usize {
        self.places.lock().unwrap().len()
    }
}

impl Feed for Applied {
    fn feed(&mut self, fed: Fed) -> bool {
        if let Fed::Records(records) = fed {
            let last = records.last().unwrap();
            let mark = (last.partition, last.offset.plus(1));
            let places = records
                .iter()
                .map(|record| (record.partition, record.offset));
            self.places.lock().unwrap().extend(places);
            self.log.wait().set_watermark(mark.0, mark.1);
        }
        true
    }
}

/// Opens a log whose records are applied and marked at once.
pub(crate) fn open(options: &kafka::Options) -> (Arc<KafkaLog>, Applied, Answers) {
    let applied = Applied::default();
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
    keys.for_each(|key| log.append(key, key.to_string().into_bytes(), key).unwrap());
    let answered = (0..count).map(|_| answers.recv_timeout(PATIENCE).unwrap().unwrap());
    answered.collect()
}
