//! What both writers of the embedded log promise besides what every log does (`log_support/promises.rs`): one
//! suite, run under each.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

mod log_support;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use log_support::*;
use rookery_router::log::{
    self, AppendError, Log, LogError, Offset, Options, Partition, Replayed, WriterKind,
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
        assert_eq!(
            log.append(Partition::ONLY, 0, Vec::new(), 9),
            Err(AppendError::Closed)
        );
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

fn the_disk_bound_refuses_and_recovers(writer: WriterKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segments_max: 3,
        ..small(writer)
    };
    let (log, _, outcomes) = open(dir.path(), &options);
    let mut durable = 0;
    let mut n = 0;
    while log.append(Partition::ONLY, key(n), body(n), n).is_ok() {
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
        log.append(Partition::ONLY, key(n), body(n), n),
        Err(AppendError::StorageFull)
    );
    check_replay(&log, 0, durable);
    log.set_watermark(Partition::ONLY, Offset(durable));
    let patience = Instant::now() + PATIENCE;
    while let Err(error) = log.append(Partition::ONLY, key(n), body(n), n) {
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
        log.append(Partition::ONLY, 1, body.clone(), n as u64)
            .unwrap();
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
