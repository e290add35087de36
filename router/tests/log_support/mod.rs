//! What the log's tests share: a sink that gathers, small options, records that tell where they
//! come from.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

pub(crate) mod forms;
pub(crate) mod group;

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rookery_router::log::{
    self, AppendError, CommitLog, Log, Offset, Options, Partition, Record, Recovered, Replayed,
    Sink, Ticket, WriterKind,
};
use rookery_router::placement;

/// Long enough for a starved machine; a log that takes longer is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) enum Outcome {
    Durable(Record, Ticket),
    Failed(Ticket, AppendError),
}

pub(crate) struct Gather(Sender<Outcome>);

impl Sink for Gather {
    fn durable(&mut self, record: Record, ticket: Ticket) {
        drop(self.0.send(Outcome::Durable(record, ticket)));
    }
    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        drop(self.0.send(Outcome::Failed(ticket, error.clone())));
    }
}

pub(crate) fn small(writer: WriterKind) -> Options {
    Options {
        writer,
        segment_bytes: 64 << 10,
        record_bytes_max: 8 << 10,
        batch_bytes_max: 16 << 10,
        queue_records_max: 1024,
        queue_bytes_max: 1 << 20,
        retry_full: Duration::from_millis(20),
        ..Options::default()
    }
}

pub(crate) fn gather() -> (Box<dyn Sink>, Receiver<Outcome>) {
    let (tx, rx) = channel();
    (Box::new(Gather(tx)), rx)
}

pub(crate) fn open(dir: &Path, options: &Options) -> (CommitLog, Recovered, Receiver<Outcome>) {
    let (sink, outcomes) = gather();
    let (log, recovered) = log::open(dir, options, sink, &mut |_| ()).unwrap();
    (log, recovered, outcomes)
}

/// The body of record `n`: its number, and a length of its own.
pub(crate) fn body(n: u64) -> Vec<u8> {
    let mut body = n.to_le_bytes().to_vec();
    body.resize(8 + (n.wrapping_mul(2_654_435_761) % 900) as usize, n as u8);
    body
}

pub(crate) fn key(n: u64) -> u64 {
    n % 7
}

/// Partitions of a test's topic: more than one, so that keys are spread.
pub(crate) const PARTITIONS: u32 = 3;

/// Where a key's records go. An embedded log has one partition and takes every record there.
pub(crate) fn partition_of(key: u64) -> Partition {
    Partition(placement::partition_of(key, PARTITIONS))
}

pub(crate) fn append(log: &CommitLog, n: u64) {
    loop {
        match log.append(Partition::ONLY, key(n), body(n), n) {
            Ok(()) => return,
            Err(AppendError::Full) => std::thread::yield_now(),
            Err(error) => panic!("record {n}: {error}"),
        }
    }
}

/// Appends a range and waits until each is durable, in order, at the offset of its number.
pub(crate) fn append_and_wait(
    log: &CommitLog,
    outcomes: &Receiver<Outcome>,
    range: std::ops::Range<u64>,
) {
    let mut durable = range.start;
    for n in range.clone() {
        append(log, n);
        while let Ok(outcome) = outcomes.try_recv() {
            check_durable(outcome, durable);
            durable += 1;
        }
    }
    while durable < range.end {
        check_durable(outcomes.recv_timeout(PATIENCE).unwrap(), durable);
        durable += 1;
    }
}

pub(crate) fn check_durable(outcome: Outcome, n: u64) {
    match outcome {
        Outcome::Durable(record, ticket) => {
            assert_eq!(ticket, n);
            check_record(&record, n);
        }
        Outcome::Failed(ticket, error) => panic!("ticket {ticket}: {error}"),
    }
}

pub(crate) fn check_record(record: &Record, n: u64) {
    assert_eq!(record.offset, Offset(n));
    assert_eq!(record.key, key(n), "record {n}");
    assert_eq!(record.body, body(n), "record {n}");
}

/// Reads from `from` and checks each record and the number of them; gives that number.
pub(crate) fn check_replay(log: &CommitLog, from: u64, to: u64) -> u64 {
    let mut n = from;
    for record in log.read_from(Offset(from)).unwrap() {
        check_record(&record.unwrap(), n);
        n += 1;
    }
    assert_eq!(n, to, "records from {from}");
    n - from
}

pub(crate) fn segment_files(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("segment-"))
        .count()
}
