//! A log of any form at a place of its own, so that one promise can be tried on each: what was answered
//! and what was consumed come through two channels.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use rookery_router::log::{
    self, Acks, AppendError, Fed, Feed, Log, LogError, Offset, Options, Partition, Record,
    Replayed, Sink, Ticket, WriterKind, kafka,
};
use tempfile::TempDir;

use super::group::{Positions, positions};
use super::{PARTITIONS, PATIENCE, small};

/// How much a log takes.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) record: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            records: 1024,
            bytes: 1 << 20,
            record: 8 << 10,
        }
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Durable(Ticket, Partition, Offset),
    Failed(Ticket, AppendError),
}

impl Answer {
    pub(crate) fn ticket(&self) -> Ticket {
        match self {
            Answer::Durable(ticket, ..) | Answer::Failed(ticket, _) => *ticket,
        }
    }
}

/// Called with the ticket before an answer is passed on.
pub(crate) type Before = Box<dyn FnMut(Ticket) + Send>;

/// A log while it is open.
pub(crate) struct Life {
    pub(crate) log: Box<dyn Log>,
    pub(crate) answers: Receiver<Answer>,
    pub(crate) consumed: Receiver<Record>,
}

impl Life {
    /// The next so many records, or what came of them in time.
    pub(crate) fn consume(&self, count: usize) -> Vec<Record> {
        let patience = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < count {
            let left = patience.saturating_duration_since(Instant::now());
            match self.consumed.recv_timeout(left) {
                Ok(record) => records.push(record),
                Err(_) => panic!("{} of {count} records were consumed", records.len()),
            }
        }
        records
    }

    pub(crate) fn answered(&self, count: usize) -> Vec<Answer> {
        (0..count)
            .map(|n| match self.answers.recv_timeout(PATIENCE) {
                Ok(answer) => answer,
                Err(_) => panic!("{n} of {count} tickets were answered"),
            })
            .collect()
    }
}

/// A form of log.
pub(crate) trait Form: Sized {
    /// A place without a log.
    fn make(bounds: Bounds) -> Self;

    /// Opens the log there, or makes it.
    fn open_with(&self, before: Before) -> Life;

    fn open(&self) -> Life {
        self.open_with(Box::new(|_| ()))
    }
}

/// The embedded log under either writer.
pub(crate) struct Embedded {
    dir: TempDir,
    options: Options,
}

impl Embedded {
    fn under(writer: WriterKind, bounds: Bounds) -> Self {
        let options = Options {
            record_bytes_max: bounds.record,
            queue_records_max: bounds.records,
            queue_bytes_max: bounds.bytes,
            segments_max: 200,
            ..small(writer)
        };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, options }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

pub(crate) struct Plain(Embedded);
pub(crate) struct Glommio(Embedded);

impl Form for Plain {
    fn make(bounds: Bounds) -> Self {
        Self(Embedded::under(WriterKind::Plain, bounds))
    }
    fn open_with(&self, before: Before) -> Life {
        self.0.open_with(before)
    }
}

impl Form for Glommio {
    fn make(bounds: Bounds) -> Self {
        Self(Embedded::under(WriterKind::Glommio, bounds))
    }
    fn open_with(&self, before: Before) -> Life {
        self.0.open_with(before)
    }
}

struct Tell {
    before: Before,
    answers: Sender<Answer>,
    consumed: Sender<Record>,
}

impl Sink for Tell {
    fn durable(&mut self, record: Record, ticket: Ticket) {
        (self.before)(ticket);
        let answer = Answer::Durable(ticket, record.partition, record.offset);
        drop(self.answers.send(answer));
        drop(self.consumed.send(record));
    }
    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        drop(self.answers.send(Answer::Failed(ticket, error.clone())));
    }
}

impl Embedded {
    fn open_with(&self, before: Before) -> Life {
        let (answers, answered) = channel();
        let (consumed, consumption) = channel();
        let sink = Box::new(Tell {
            before,
            answers,
            consumed: consumed.clone(),
        });
        let (log, recovered) = log::open(&self.path(), &self.options, sink, &mut |_| ()).unwrap();
        for record in log.read_from(recovered.watermark).unwrap() {
            consumed.send(record.unwrap()).unwrap();
        }
        Life {
            log: Box::new(log),
            answers: answered,
            consumed: consumption,
        }
    }
}

/// The brokers of the tests.
pub(crate) fn brokers() -> Vec<String> {
    let Ok(brokers) = std::env::var("ROOKERY_TEST_KAFKA") else {
        panic!("needs services: cargo xtask test --only cluster");
    };
    brokers.split(',').map(str::to_owned).collect()
}

/// A log on the brokers of the tests, under a prefix that nobody else has.
pub(crate) fn options(name: &str) -> kafka::Options {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    kafka::Options {
        brokers: brokers(),
        username: Some("rookery".into()),
        password: Some("rookery-test".into()),
        topic_prefix: format!("test-{name}-{}-{now:x}-{next}", std::process::id()),
        session_timeout_ms: 6_000,
        // Brokers on a machine that compiles meanwhile take their time.
        delivery_timeout_ms: 40_000,
        ..kafka::Options::default()
    }
}

/// Makes the topics, with as many copies as there are brokers.
pub(crate) fn migrate(options: &kafka::Options) {
    let copies = options.brokers.len().min(3) as u32;
    let made = kafka::ensure(options, PARTITIONS, copies).unwrap();
    assert_eq!(made, [options.messages(), options.dead_letters()]);
}

pub(crate) struct Kafka(kafka::Options);

struct TellAcks {
    before: Before,
    answers: Sender<Answer>,
}

impl Acks for TellAcks {
    fn acked(&mut self, ticket: Ticket, partition: Partition, offset: Offset, _at_ms: u64) {
        (self.before)(ticket);
        drop(
            self.answers
                .send(Answer::Durable(ticket, partition, offset)),
        );
    }
    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        drop(self.answers.send(Answer::Failed(ticket, error.clone())));
    }
}

struct TellFeed {
    consumed: Sender<Record>,
    positions: Positions,
}

impl Feed for TellFeed {
    fn feed(&mut self, fed: Fed) -> bool {
        if let Fed::Assigned { partitions, begin } = fed {
            begin.send(self.positions.of(&partitions)).unwrap();
        } else if let Fed::Records(records) = fed {
            let partition = records[0].partition;
            for record in records {
                assert_eq!(record.partition, partition, "a batch is of one partition");
                drop(self.consumed.send(record));
            }
        }
        true
    }
}

/// Keeps what is marked, as a store does.
struct Marked {
    log: kafka::KafkaLog,
    positions: Positions,
}

impl Log for Marked {
    fn append(
        &self,
        partition: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError> {
        self.log.append(partition, key, body, ticket)
    }
    fn set_watermark(&self, partition: Partition, offset: Offset) {
        self.positions.reach(partition, offset);
        self.log.set_watermark(partition, offset);
    }
    fn bury(&self, record: &Record, reason: &str) -> Result<(), AppendError> {
        self.log.bury(record, reason)
    }
    fn ended(&self) -> Option<String> {
        self.log.ended()
    }
    fn close(&self) -> Result<(), LogError> {
        self.log.close()
    }
}

impl Form for Kafka {
    fn make(bounds: Bounds) -> Self {
        let options = kafka::Options {
            record_bytes_max: bounds.record,
            queue_records_max: bounds.records,
            queue_bytes_max: bounds.bytes,
            ..options("promise")
        };
        migrate(&options);
        Self(options)
    }

    fn open_with(&self, before: Before) -> Life {
        let (answers, answered) = channel();
        let (consumed, consumption) = channel();
        let acks = Box::new(TellAcks { before, answers });
        let positions = positions(&self.0);
        let feed = Box::new(TellFeed {
            consumed,
            positions: positions.clone(),
        });
        let log = kafka::open(self.0.clone(), acks, feed).unwrap();
        Life {
            log: Box::new(Marked { log, positions }),
            answers: answered,
            consumed: consumption,
        }
    }
}
