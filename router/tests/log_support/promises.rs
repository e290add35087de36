//! What every log promises, embedded or distributed: one suite, run under each form by the same names.

#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use rookery_router::log::{AppendError, Log, LogError, Offset, Partition, Record};

use crate::log_support::forms::{Answer, Bounds, Form, Life};
use crate::log_support::{PATIENCE, body, key, partition_of};

macro_rules! tests {
    ($module:ident, $form:ty, [$($promise:ident),* $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $promise() {
                    crate::promises::$promise::<$form>();
                }
            )*
        }
    };
}

/// A module of tests, one for each promise, on a form of log.
macro_rules! keeps {
    ($module:ident, $form:ty) => {
        crate::promises::tests! {
            $module,
            $form,
            [
                appended_is_consumed_in_order_with_the_same_bytes,
                a_key_keeps_its_partition_over_restarts,
                several_feeders_keep_their_order,
                every_ticket_is_answered_once_when_the_log_closes,
                a_closed_log_refuses,
                the_queue_is_bounded_and_says_so,
                a_record_that_is_too_large_is_refused,
                consumed_again_from_the_watermark_after_a_restart,
                a_panic_of_the_acks_closes_the_log_in_order,
            ]
        }
    };
}

pub(crate) use {keeps, tests};

/// Appends, waiting where the queue is full.
fn append(log: &dyn Log, key: u64, body: &[u8], ticket: u64) {
    let patience = Instant::now() + PATIENCE;
    while let Err(error) = log.append(partition_of(key), key, body.to_vec(), ticket) {
        assert_eq!(error, AppendError::Full, "ticket {ticket}");
        assert!(Instant::now() < patience, "the queue stays full");
        thread::sleep(Duration::from_micros(100));
    }
}

fn append_all(life: &Life, range: std::ops::Range<u64>) {
    range.for_each(|n| append(&*life.log, key(n), &body(n), n));
}

/// Where each ticket's record lies; every one is durable and was answered once.
fn places(answers: &[Answer]) -> HashMap<u64, (Partition, Offset)> {
    let places: HashMap<u64, (Partition, Offset)> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Durable(ticket, partition, offset) => (*ticket, (*partition, *offset)),
            failed => panic!("{failed:?}"),
        })
        .collect();
    assert_eq!(places.len(), answers.len(), "a ticket was answered twice");
    places
}

/// The number that [`body`] wrote.
fn number(record: &Record) -> u64 {
    u64::from_le_bytes(record.body[..8].try_into().unwrap())
}

/// Checks bytes and order of records of [`append_all`], per key by number and per partition by offset.
fn check_order(records: &[Record]) {
    let mut last_of_key = HashMap::new();
    let mut last_of_partition = HashMap::new();
    for record in records {
        let n = number(record);
        assert_eq!(record.key, key(n));
        assert_eq!(record.body, body(n));
        assert!(
            last_of_key.insert(record.key, n) < Some(n),
            "the order of key {}",
            record.key
        );
        let last = last_of_partition.insert(record.partition, record.offset);
        assert!(
            last < Some(record.offset),
            "the offsets of {}",
            record.partition
        );
    }
}

pub(crate) fn appended_is_consumed_in_order_with_the_same_bytes<F: Form>() {
    const RECORDS: u64 = 1200;
    let form = F::make(Bounds::default());
    let life = form.open();
    append_all(&life, 0..RECORDS);
    let places = places(&life.answered(RECORDS as usize));
    let records = life.consume(RECORDS as usize);
    check_order(&records);
    for record in &records {
        assert_eq!(places[&number(record)], (record.partition, record.offset));
    }
    // Bodies at both ends of what is allowed.
    for (n, bytes) in [(0, 0), (1, 8 << 10)] {
        append(&*life.log, 5, &vec![7; bytes], RECORDS + n);
        assert_eq!(life.consume(1)[0].body, vec![7; bytes]);
    }
    life.log.close().unwrap();
}

pub(crate) fn a_key_keeps_its_partition_over_restarts<F: Form>() {
    let form = F::make(Bounds::default());
    let mut of_key: BTreeMap<u64, Partition> = BTreeMap::new();
    let mut records = 0;
    for life in 0..2 {
        let opened = form.open();
        let range = life * 200..(life + 1) * 200;
        append_all(&opened, range.clone());
        for (n, (partition, _)) in places(&opened.answered(200)) {
            let known = of_key.entry(key(n)).or_insert(partition);
            assert_eq!(*known, partition, "key {}", key(n));
        }
        records += 200;
        check_order(&opened.consume(records));
        opened.log.close().unwrap();
    }
    assert_eq!(of_key.len(), 7);
}

pub(crate) fn several_feeders_keep_their_order<F: Form>() {
    const FEEDERS: u64 = 4;
    const EACH: u64 = 2000;
    let form = F::make(Bounds {
        records: 64,
        ..Bounds::default()
    });
    let life = form.open();
    let log = &*life.log;
    thread::scope(|scope| {
        for feeder in 0..FEEDERS {
            scope.spawn(move || {
                for n in 0..EACH {
                    let ticket = feeder * EACH + n;
                    append(log, feeder, &body(ticket), ticket);
                }
            });
        }
    });
    let all = (FEEDERS * EACH) as usize;
    let places = places(&life.answered(all));
    let check = |records: &[Record]| {
        let mut next = [0; FEEDERS as usize];
        for record in records {
            let n = number(record);
            assert_eq!(places[&n], (record.partition, record.offset));
            let expected = &mut next[record.key as usize];
            assert_eq!(n, record.key * EACH + *expected, "a feeder's order");
            *expected += 1;
        }
        assert_eq!(next, [EACH; FEEDERS as usize]);
    };
    check(&life.consume(all));
    life.log.close().unwrap();
    drop(life);
    // Nothing was marked as applied, so the next life is given the same.
    let again = form.open();
    check(&again.consume(all));
    again.log.close().unwrap();
}

pub(crate) fn every_ticket_is_answered_once_when_the_log_closes<F: Form>() {
    let form = F::make(Bounds::default());
    let life = form.open();
    append_all(&life, 0..300);
    life.log.close().unwrap();
    let answers: Vec<Answer> = life.answers.try_iter().collect();
    let tickets: HashSet<u64> = answers.iter().map(Answer::ticket).collect();
    assert_eq!((answers.len(), tickets.len()), (300, 300));
    drop(life.log);
    assert_eq!(life.answers.try_iter().count(), 0);
}

pub(crate) fn a_closed_log_refuses<F: Form>() {
    let form = F::make(Bounds::default());
    let life = form.open();
    life.log.close().unwrap();
    assert_eq!(
        life.log.append(partition_of(1), 1, vec![1], 1),
        Err(AppendError::Closed)
    );
    life.log.close().unwrap();
    drop(life.log);
    assert_eq!(life.answers.try_iter().count(), 0);
}

pub(crate) fn the_queue_is_bounded_and_says_so<F: Form>() {
    for (records, bytes) in [(10, 1 << 20), (1024, 8 << 10)] {
        let form = F::make(Bounds {
            records,
            bytes,
            ..Bounds::default()
        });
        let (let_go, gate) = sync_channel(1);
        let mut gate = Some(gate);
        let life = form.open_with(Box::new(move |_| {
            if let Some(gate) = gate.take() {
                gate.recv_timeout(PATIENCE).unwrap();
            }
        }));
        let taken = (0..3000)
            .find_map(
                |n| match life.log.append(partition_of(0), 0, vec![0; 100], n) {
                    Ok(()) => None,
                    Err(error) => {
                        assert_eq!(error, AppendError::Full);
                        Some(n as usize)
                    }
                },
            )
            .unwrap_or_else(|| panic!("{records} records, {bytes} bytes: all were taken"));
        let_go.send(()).unwrap();
        life.log.close().unwrap();
        let answered = life.answers.try_iter().collect::<Vec<_>>();
        assert_eq!(
            places(&answered).len(),
            taken,
            "what was refused is not answered"
        );
    }
}

pub(crate) fn a_record_that_is_too_large_is_refused<F: Form>() {
    let bytes_max = 8 << 10;
    let form = F::make(Bounds {
        record: bytes_max,
        ..Bounds::default()
    });
    let life = form.open();
    let refused = AppendError::TooLarge {
        bytes: bytes_max + 1,
        bytes_max,
    };
    assert_eq!(
        life.log
            .append(partition_of(1), 1, vec![0; bytes_max + 1], 1),
        Err(refused)
    );
    append(&*life.log, 1, &vec![0; bytes_max], 2);
    assert_eq!(
        places(&life.answered(1)).into_keys().collect::<Vec<_>>(),
        [2]
    );
    life.log.close().unwrap();
}

pub(crate) fn consumed_again_from_the_watermark_after_a_restart<F: Form>() {
    const RECORDS: usize = 600;
    let form = F::make(Bounds::default());
    let life = form.open();
    append_all(&life, 0..RECORDS as u64);
    let mut of_partition: BTreeMap<Partition, Vec<Offset>> = BTreeMap::new();
    for record in life.consume(RECORDS) {
        of_partition
            .entry(record.partition)
            .or_default()
            .push(record.offset);
    }
    let marks: BTreeMap<Partition, Offset> = of_partition
        .iter()
        .map(|(partition, offsets)| (*partition, offsets[offsets.len() / 2]))
        .collect();
    for (partition, offset) in &marks {
        life.log.set_watermark(*partition, *offset);
        // It only grows.
        life.log.set_watermark(*partition, Offset(0));
    }
    life.log.close().unwrap();
    drop(life);

    let life = form.open();
    let left =
        |partition: &Partition| &of_partition[partition][of_partition[partition].len() / 2..];
    let expected: BTreeMap<Partition, Vec<Offset>> = marks
        .keys()
        .map(|partition| (*partition, left(partition).to_vec()))
        .collect();
    let count = expected.values().map(Vec::len).sum();
    assert!((RECORDS / 3..RECORDS).contains(&count), "{count} are left");
    let mut again: BTreeMap<Partition, Vec<Offset>> = BTreeMap::new();
    for record in life.consume(count) {
        again
            .entry(record.partition)
            .or_default()
            .push(record.offset);
    }
    assert_eq!(again, expected);
    for (partition, offsets) in &again {
        life.log
            .set_watermark(*partition, offsets.last().unwrap().plus(1));
    }
    life.log.close().unwrap();
    drop(life);

    let life = form.open();
    append(&*life.log, 3, b"the next", 9);
    let next = life.consume(1).remove(0);
    assert_eq!(
        next.body, b"the next",
        "what was applied is not given again"
    );
    life.log.close().unwrap();
    assert_eq!(life.consumed.try_iter().count(), 0);
}

pub(crate) fn a_panic_of_the_acks_closes_the_log_in_order<F: Form>() {
    let form = F::make(Bounds::default());
    let life = form.open_with(Box::new(|ticket| {
        assert!(ticket != 50, "a defect of the receiver");
    }));
    let patience = Instant::now() + PATIENCE;
    let mut taken = 0;
    loop {
        match life.log.append(partition_of(4), 4, body(taken), taken) {
            Ok(()) => taken += 1,
            Err(AppendError::Closed) => break,
            Err(error) => assert_eq!(error, AppendError::Full),
        }
        assert!(Instant::now() < patience, "it goes on without answering");
        thread::sleep(Duration::from_micros(100));
    }
    match life.log.close() {
        Err(LogError::Died(reason)) => assert!(reason.contains("a defect of the receiver")),
        other => panic!("{other:?}"),
    }
    let answers: Vec<Answer> = life.answers.try_iter().collect();
    let durable = answers
        .iter()
        .filter(|answer| matches!(answer, Answer::Durable(..)));
    assert_eq!(durable.count(), 50);
    // All but the one that was being told.
    assert_eq!(answers.len() as u64, taken - 1);
    drop(life);
    let life = form.open();
    let numbers: Vec<u64> = life.consume(51).iter().map(number).collect();
    assert_eq!(
        numbers,
        (0..51).collect::<Vec<_>>(),
        "the records themselves are durable"
    );
    life.log.close().unwrap();
}
