//! What the Kafka log promises besides what every log does: partitions shared out in a group, dead letters,
//! times, and beginnings that the topic has not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rookery_router::log::kafka;
use rookery_router::log::{Fed, Feed, Log, Offset, Partition, Record};

use crate::log_support::forms::{migrate, options};
use crate::log_support::group::*;
use crate::log_support::{PARTITIONS, PATIENCE};

#[test]
fn a_rebalance_loses_and_repeats_nothing() {
    let options = options("rebalance");
    migrate(&options);
    let (first, by_first, answers) = open(&options);
    let mut appended = BTreeSet::new();
    let mut step = |from: u64| appended.extend(append(&first, &answers, from..from + 300));
    step(0);
    wait("the first has all", || by_first.count() == 300);
    let (second, by_second, _) = open(&options);
    // It goes on while the partitions move.
    for round in 1..10 {
        step(round * 300);
    }
    wait("both have partitions", || {
        let (one, other) = (first.assigned().len(), second.assigned().len());
        one > 0 && other > 0 && one + other == PARTITIONS as usize
    });
    step(3000);
    wait("all is applied", || {
        by_first.count() + by_second.count() >= 3300
    });
    assert!(by_second.count() > 0, "the second applies nothing");
    close(&second);
    wait("the first has all partitions", || {
        first.assigned().len() == PARTITIONS as usize
    });
    step(3300);
    wait("all is applied", || {
        by_first.count() + by_second.count() >= 3600
    });
    close(&first);
    let applied: Vec<_> = by_first
        .places()
        .into_iter()
        .chain(by_second.places())
        .collect();
    assert_eq!(applied.len(), 3600, "something was applied twice");
    assert_eq!(applied.into_iter().collect::<BTreeSet<_>>(), appended);
}

/// Does nothing until it is let go.
struct Stuck {
    let_go: Receiver<()>,
    applied: Applied,
}

impl Feed for Stuck {
    fn feed(&mut self, fed: Fed) -> bool {
        let open = matches!(self.let_go.try_recv(), Err(TryRecvError::Disconnected));
        if !open && matches!(fed, Fed::Records(_)) {
            // Ends when the test drops its end.
            self.let_go.recv().unwrap_err();
        }
        self.applied.feed(fed)
    }
}

#[test]
fn a_stuck_applier_keeps_its_place_and_does_not_hold_up_the_group() {
    let options = kafka::Options {
        revoke_wait_ms: 500,
        ..options("stuck")
    };
    migrate(&options);
    let (answered, answers) = channel();
    let (let_go, gate) = channel();
    let by_first = Applied::of(&options);
    let stuck = Stuck {
        let_go: gate,
        applied: by_first.clone(),
    };
    let acks = Box::new(Answered(answered));
    let first = Arc::new(kafka::open(options.clone(), acks, Box::new(stuck)).unwrap());
    by_first.log.set(first.clone()).unwrap();
    // More than is read ahead, so that the partitions are paused.
    let mut appended = BTreeSet::new();
    for round in 0..10 {
        appended.extend(append(&first, &answers, round * 1000..(round + 1) * 1000));
    }
    // Longer than the session, within which a consumer that does nothing is thought dead.
    thread::sleep(Duration::from_millis(
        u64::from(options.session_timeout_ms) + 1000,
    ));
    assert_eq!(first.assigned().len(), PARTITIONS as usize);
    let (second, by_second, _) = open(&options);
    wait("the second has its share", || !second.assigned().is_empty());
    assert!(!first.assigned().is_empty(), "the first has lost its place");
    assert_eq!(by_first.count(), 0);
    drop(let_go);
    let applied = || {
        let both = by_first.places().into_iter().chain(by_second.places());
        both.collect::<BTreeSet<_>>()
    };
    wait("all is applied by one or both", || {
        applied().len() == appended.len()
    });
    assert_eq!(applied(), appended);
    close(&second);
    close(&first);
}

/// Reads a topic from its beginning.
fn read(options: &kafka::Options, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let mut config = client(options);
    config
        .set("group.id", format!("{topic}.reader"))
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let patience = Instant::now() + PATIENCE;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(Instant::now() < patience, "{} of {count}", messages.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.unwrap().detach());
        }
    }
    messages
}

fn headers(message: &OwnedMessage) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message.headers().unwrap().iter();
    headers
        .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
        .collect()
}

#[test]
fn what_cannot_be_applied_is_kept_as_it_was() {
    let options = options("poison");
    migrate(&options);
    let (log, _applied, _answers) = open(&options);
    let record = Record {
        partition: Partition(2),
        offset: Offset(77),
        at_ms: 0,
        key: 0x0102_0304_0506_0708,
        body: vec![0, 255, 7],
    };
    log.bury(&record, "kind 9 is unknown").unwrap();
    let letters = read(&options, &options.dead_letters(), 1);
    assert_eq!(letters[0].key(), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
    assert_eq!(letters[0].payload(), Some(&[0, 255, 7][..]));
    let told = headers(&letters[0]);
    assert_eq!((&*told["partition"], &*told["offset"]), ("2", "77"));
    assert_eq!(told["reason"], "kind 9 is unknown");
    close(&log);
}

/// Passes records on, and begins at the beginning.
struct Seen(Sender<Record>);

impl Feed for Seen {
    fn feed(&mut self, fed: Fed) -> bool {
        match fed {
            Fed::Assigned { partitions, begin } => {
                let begins = partitions.into_iter().map(|it| (it, Offset(0))).collect();
                begin.send(begins).unwrap();
            }
            Fed::Records(records) => records.into_iter().for_each(|record| {
                drop(self.0.send(record));
            }),
            Fed::Revoked { .. } | Fed::Lost(_) => {}
        }
        true
    }
}

#[test]
fn every_record_is_handed_on_with_the_time_that_the_log_took_it_at() {
    let options = options("times");
    migrate(&options);
    let (answered, answers) = channel();
    let (tell, told) = channel();
    let acks = Box::new(Answered(answered));
    let log = kafka::open(options.clone(), acks, Box::new(Seen(tell))).unwrap();
    let now_ms = || {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap()
    };
    let begun_ms = now_ms();
    // One that somebody else wrote, whose key is no conversation's and whose clock is elsewhere.
    let foreign: BaseProducer = client(&options).create().unwrap();
    let topic = options.messages();
    let record = BaseRecord::to(&topic)
        .key("who?")
        .payload("what?")
        .timestamp(1)
        .partition(1);
    foreign.send(record).map_err(|(error, _)| error).unwrap();
    foreign.flush(PATIENCE).unwrap();
    append(&log, &answers, 1..21);
    let records: Vec<Record> = (0..21)
        .map(|_| told.recv_timeout(PATIENCE).unwrap())
        .collect();
    let foreign = records.iter().find(|record| record.body == b"what?");
    assert_eq!(
        foreign.map(|it| (it.key, it.partition)),
        Some((0, Partition(1)))
    );
    // The brokers run on this host.
    let slack_ms = 1_000;
    for record in records {
        let taken = begun_ms - slack_ms..=now_ms() + slack_ms;
        assert!(
            taken.contains(&record.at_ms),
            "{record:?} not within {taken:?}"
        );
    }
    log.close().unwrap();
}

/// Where the store is, and what the topic has.
fn refused(name: &str, position: u64, deleted: i64) -> String {
    let options = options(name);
    migrate(&options);
    let (log, applied, answers) = open(&options);
    let places = append(&log, &answers, 0..300);
    wait("all is applied", || applied.count() == 300);
    close(&log);
    let (partition, _) = places[0];
    positions(&options).set(partition, Offset(position));
    if deleted > 0 {
        let mut list = TopicPartitionList::new();
        let below = rdkafka::Offset::Offset(deleted);
        list.add_partition_offset(&options.messages(), partition.0 as i32, below)
            .unwrap();
        let cut = futures_executor::block_on(admin(&options).delete_records(&list, &patience()));
        cut.unwrap();
    }
    let (log, applied, answers) = open(&options);
    wait("it ends", || log.ended().is_some());
    let why = log.ended().unwrap().to_owned();
    let said = format!("partition {partition} goes on at offset {position}, and the topic has");
    assert!(why.contains(&said), "{why}");
    assert!(why.contains("Stop all edges"), "{why}");
    let of_it = applied
        .places()
        .into_iter()
        .filter(|(of, _)| *of == partition);
    assert_eq!(of_it.count(), 0, "records were skipped");
    // And nothing is acked any more.
    if log.append(partition, 1, vec![1], 1).is_ok() {
        answers.recv_timeout(PATIENCE).unwrap().unwrap_err();
    }
    close(&log);
    why
}

#[test]
fn records_that_were_deleted_before_they_were_stored_are_said_and_never_skipped() {
    assert!(refused("gone", 2, 8).contains("were deleted"));
}

/// Retention: the topic begins above where a partition is assigned before it is told where it begins.
#[test]
fn records_that_were_deleted_after_they_were_stored_are_missed_by_nobody() {
    let options = options("retained");
    migrate(&options);
    let (log, applied, answers) = open(&options);
    append(&log, &answers, 0..300);
    wait("all is applied", || applied.count() == 300);
    close(&log);
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let below = rdkafka::Offset::Offset(5);
        list.add_partition_offset(&options.messages(), partition as i32, below)
            .unwrap();
    }
    let cut = futures_executor::block_on(admin(&options).delete_records(&list, &patience()));
    cut.unwrap();
    for round in 0..5 {
        let (log, applied, answers) = open(&options);
        append(&log, &answers, 0..20);
        wait("it goes on", || applied.count() == 20);
        assert_eq!(log.ended(), None, "round {round}");
        close(&log);
    }
}

#[test]
fn a_store_that_is_ahead_of_the_topic_is_said_and_nothing_is_taken() {
    assert!(refused("cut", 1_000, 0).contains("made anew"));
}

#[test]
fn what_the_group_committed_is_for_people_only() {
    let options = options("committed");
    migrate(&options);
    let (log, applied, answers) = open(&options);
    let places = append(&log, &answers, 0..300);
    wait("all is applied", || applied.count() == 300);
    close(&log);
    let mut config = client(&options);
    let group: BaseConsumer = config.set("group.id", options.group()).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let topic = options.messages();
        list.add_partition_offset(&topic, partition as i32, rdkafka::Offset::Offset(0))
            .unwrap();
    }
    let committed = group.committed_offsets(list.clone(), PATIENCE).unwrap();
    let of_first = places.iter().filter(|(of, _)| *of == places[0].0).count();
    let told = committed.find_partition(&options.messages(), places[0].0.0 as i32);
    assert_eq!(
        told.unwrap().offset(),
        rdkafka::Offset::Offset(of_first as i64),
        "lag tools are told"
    );
    group.commit(&list, CommitMode::Sync).unwrap();
    let (log, applied, answers) = open(&options);
    append(&log, &answers, 0..3);
    wait("it goes on", || applied.count() == 3);
    assert_eq!(log.ended(), None);
    close(&log);
}
