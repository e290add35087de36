//! What both writers promise: one suite, run under each.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

mod log_support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use log_support::*;
use rookery_router::log::{
    self, AppendError, Log, LogError, Offset, Options, Partition, Record, Replayed, Sink, Ticket,
    WriterKind,
};

macro_rules! suite {
    ($module:ident, $writer:expr, [$($test:ident),* $(,)?]) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $test() {
                    super::$test($writer);
                }
            )*
        }
    };
}

macro_rules! suites {
    ($tests:tt) => {
        suite!(plain, WriterKind::Plain, $tests);
        suite!(glommio, WriterKind::Glommio, $tests);
    };
}

suites!([
    appended_is_read_back_after_reopening,
    segments_are_recycled_below_the_watermark,
    several_feeders_keep_their_order,
    the_queue_is_bounded_and_says_so,
    every_ticket_is_answered_when_the_log_is_dropped,
    a_panic_of_the_sink_ends_the_log_in_order,
    the_disk_bound_refuses_and_recovers,
    a_second_opener_is_refused,
    a_large_record_fills_a_batch,
]);

fn appended_is_read_back_after_reopening(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = small(writer);
    let mut read = 0;
    let ends = [0, 1, 2, 500, 501, 1200];
    for life in ends.windows(2) {
        let (log, recovered, outcomes) = open(dir.path(), &options);
        assert_eq!(recovered.created, life[0] == 0);
        assert_eq!(recovered.end, Offset(life[0]));
        assert_eq!(recovered.torn, None);
        read += check_replay(&log, 0, life[0]);
        append_and_wait(&log, &outcomes, life[0]..life[1]);
        read += check_replay(&log, 0, life[1]);
        read += check_replay(&log, life[1] / 2, life[1]);
        log.close().unwrap();
        assert_eq!(log.append(0, Vec::new(), 9), Err(AppendError::Closed));
    }
    println!("{read} records read back");
}

fn segments_are_recycled_below_the_watermark(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = small(writer);
    let (step, lives) = (1500, 6);
    for life in 0..lives {
        let (log, recovered, outcomes) = open(dir.path(), &options);
        let from = life * step;
        assert_eq!(recovered.end, Offset(from));
        assert!(recovered.watermark <= Offset(from));
        check_replay(&log, recovered.watermark.0, from);
        for part in 0..5 {
            let begin = from + part * step / 5;
            append_and_wait(&log, &outcomes, begin..begin + step / 5);
            log.set_watermark(Partition::ONLY, Offset(begin));
        }
        wait_for_gone(&log, from);
        log.close().unwrap();
    }
    let files = segment_files(dir.path());
    // 9000 records of 470 bytes are 65 segments and more of what was written.
    assert!(files <= 20, "{files} files");
    println!(
        "{} records through {files} segment files of 64 KiB",
        lives * step
    );
}

/// Waits until the log's thread has acted on the watermark.
fn wait_for_gone(log: &log::CommitLog, below: u64) {
    let patience = Instant::now() + PATIENCE;
    while below > 0 && log.read_from(Offset(below - 1)).is_ok() {
        assert!(
            Instant::now() < patience,
            "offset {} was never let go",
            below - 1
        );
        thread::sleep(Duration::from_millis(1));
        if below < 1500 {
            return;
        }
    }
}

fn several_feeders_keep_their_order(writer: WriterKind) {
    const FEEDERS: u64 = 4;
    const EACH: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        queue_records_max: 64,
        segments_max: 200,
        ..small(writer)
    };
    let (log, _, outcomes) = open(dir.path(), &options);
    thread::scope(|scope| {
        for feeder in 0..FEEDERS {
            let log = &log;
            scope.spawn(move || {
                for n in 0..EACH {
                    let ticket = feeder * EACH + n;
                    while let Err(error) = log.append(feeder, body(ticket), ticket) {
                        assert_eq!(error, AppendError::Full);
                        thread::yield_now();
                    }
                }
            });
        }
    });
    log.close().unwrap();
    let mut next = [0; FEEDERS as usize];
    let durable: Vec<Record> = outcomes
        .try_iter()
        .enumerate()
        .map(|(n, outcome)| match outcome {
            Outcome::Durable(record, ticket) => {
                assert_eq!(record.offset, Offset(n as u64));
                assert_eq!(record.body, body(ticket));
                let expected = &mut next[record.key as usize];
                assert_eq!(ticket, record.key * EACH + *expected, "a feeder's order");
                *expected += 1;
                record
            }
            Outcome::Failed(ticket, error) => panic!("ticket {ticket}: {error}"),
        })
        .collect();
    assert_eq!(next, [EACH; FEEDERS as usize]);
    let read: Vec<Record> = log
        .read_from(Offset(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(read, durable, "a reader is given what the sink was given");
    println!("{} records of {FEEDERS} feeders", read.len());
}

/// A sink that waits at its first record until it is let go.
struct Gate {
    inner: Box<dyn Sink>,
    open: Option<Receiver<()>>,
}

impl Sink for Gate {
    fn durable(&mut self, record: Record, ticket: Ticket) {
        if let Some(open) = self.open.take() {
            open.recv_timeout(PATIENCE).unwrap();
        }
        self.inner.durable(record, ticket);
    }
    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        self.inner.failed(ticket, error);
    }
}

fn the_queue_is_bounded_and_says_so(writer: WriterKind) {
    for (records_max, bytes_max) in [(10, 1 << 20), (1024, 8 << 10)] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            queue_records_max: records_max,
            queue_bytes_max: bytes_max,
            ..small(writer)
        };
        let (inner, outcomes) = gather();
        let (let_go, gate) = sync_channel(1);
        let sink = Box::new(Gate {
            inner,
            open: Some(gate),
        });
        let (log, _) = log::open(dir.path(), &options, sink, &mut |_| ()).unwrap();
        let too_large = AppendError::TooLarge {
            bytes: (8 << 10) + 1,
            bytes_max: 8 << 10,
        };
        assert_eq!(log.append(0, vec![0; (8 << 10) + 1], 0), Err(too_large));
        let mut taken = 0;
        let refused = (0..3000).any(|n| match log.append(0, vec![0; 100], n) {
            Ok(()) => {
                taken += 1;
                false
            }
            Err(error) => {
                assert_eq!(error, AppendError::Full);
                true
            }
        });
        assert!(refused, "{taken} records of 100 bytes were taken");
        let_go.send(()).unwrap();
        log.close().unwrap();
        let answered = outcomes
            .try_iter()
            .filter(|o| matches!(o, Outcome::Durable(..)))
            .count();
        assert_eq!(
            answered, taken,
            "what was taken is answered, what was refused is not"
        );
    }
}

fn every_ticket_is_answered_when_the_log_is_dropped(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, outcomes) = open(dir.path(), &small(writer));
    (0..300).for_each(|n| append(&log, n));
    drop(log);
    let tickets: HashSet<Ticket> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Durable(_, ticket) | Outcome::Failed(ticket, _) => ticket,
        })
        .collect();
    assert_eq!(tickets.len(), 300);
}

struct Panics(Box<dyn Sink>);

impl Sink for Panics {
    fn durable(&mut self, record: Record, ticket: Ticket) {
        assert!(ticket != 50, "a defect of the consumer");
        self.0.durable(record, ticket);
    }
    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        self.0.failed(ticket, error);
    }
}

fn a_panic_of_the_sink_ends_the_log_in_order(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let (inner, outcomes) = gather();
    let (log, _) = log::open(
        dir.path(),
        &small(writer),
        Box::new(Panics(inner)),
        &mut |_| (),
    )
    .unwrap();
    let patience = Instant::now() + PATIENCE;
    let mut n = 0;
    while log.append(key(n), body(n), n) != Err(AppendError::Closed) {
        assert!(Instant::now() < patience);
        n += 1;
        thread::sleep(Duration::from_micros(100));
    }
    match log.close() {
        Err(LogError::Died(reason)) => assert!(reason.contains("a defect of the consumer")),
        other => panic!("{other:?}"),
    }
    let durable = outcomes
        .try_iter()
        .filter(|o| matches!(o, Outcome::Durable(..)))
        .count();
    assert_eq!(durable, 50);
    let (log, recovered, _outcomes) = {
        drop(log);
        open(dir.path(), &small(writer))
    };
    assert!(recovered.end > Offset(50), "the record itself is durable");
    check_replay(&log, 0, recovered.end.0);
}

fn the_disk_bound_refuses_and_recovers(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segments_max: 3,
        ..small(writer)
    };
    let (log, _, outcomes) = open(dir.path(), &options);
    let mut durable = 0;
    let mut n = 0;
    while log.append(key(n), body(n), n).is_ok() {
        match outcomes.recv_timeout(PATIENCE).unwrap() {
            Outcome::Durable(record, _) => {
                check_record(&record, n);
                durable += 1;
                n += 1;
            }
            Outcome::Failed(ticket, error) => {
                assert_eq!((ticket, error), (n, AppendError::StorageFull));
                break;
            }
        }
    }
    assert_eq!(
        log.append(key(n), body(n), n),
        Err(AppendError::StorageFull)
    );
    check_replay(&log, 0, durable);
    log.set_watermark(Partition::ONLY, Offset(durable));
    let patience = Instant::now() + PATIENCE;
    while let Err(error) = log.append(key(n), body(n), n) {
        assert_eq!(error, AppendError::StorageFull);
        assert!(Instant::now() < patience, "never taken again");
        thread::sleep(Duration::from_millis(1));
    }
    check_durable(outcomes.recv_timeout(PATIENCE).unwrap(), n);
    append_and_wait(&log, &outcomes, n + 1..n + 40);
    assert_eq!(segment_files(dir.path()), 3);
    println!("refused after {durable} records in 3 segments, then taken again");
}

fn a_second_opener_is_refused(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, _outcomes) = open(dir.path(), &small(writer));
    let again = |dir: &Path| log::open(dir, &small(writer), gather().0, &mut |_| ()).map(drop);
    assert!(matches!(again(dir.path()), Err(LogError::Locked { .. })));
    drop(log);
    again(dir.path()).unwrap();
}

fn a_large_record_fills_a_batch(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, outcomes) = open(dir.path(), &small(writer));
    let bodies: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; (8 << 10) - n % 3]).collect();
    for (n, body) in bodies.iter().enumerate() {
        log.append(1, body.clone(), n as u64).unwrap();
        assert!(matches!(
            outcomes.recv_timeout(PATIENCE).unwrap(),
            Outcome::Durable(..)
        ));
    }
    let read = log
        .read_from(Offset(0))
        .unwrap()
        .map(|record| record.unwrap().body);
    assert!(read.eq(bodies));
}
