//! What the Kafka log promises besides what every log does: partitions shared out in a group, dead letters,
//! and offsets that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rookery_router::log::kafka;
use rookery_router::log::{Fed, Feed, Log, Offset, Partition, Record};

use crate::log_support::PATIENCE;
use crate::log_support::forms::{PARTITIONS, migrate, options};
use crate::log_support::group::*;

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
    let by_first = Applied::default();
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
    let (log, applied, answers) = open(&options);
    let record = Record {
        partition: Partition(2),
        offset: Offset(77),
        key: 0x0102_0304_0506_0708,
        body: vec![0, 255, 7],
    };
    log.bury(&record, "kind 9 is unknown").unwrap();
    // And one that somebody else wrote, whose key is no conversation's.
    let foreign: BaseProducer = client(&options).create().unwrap();
    let topic = options.messages();
    let record = BaseRecord::to(&topic)
        .key("who?")
        .payload("what?")
        .partition(1);
    foreign.send(record).map_err(|(error, _)| error).unwrap();
    foreign.flush(PATIENCE).unwrap();
    let places = append(&log, &answers, 0..50);
    wait("the others are applied", || applied.count() == 50);
    assert_eq!(
        applied.places().into_iter().collect::<BTreeSet<_>>(),
        places.into_iter().collect()
    );
    let letters = read(&options, &options.dead_letters(), 2);
    assert_eq!(letters[0].key(), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
    assert_eq!(letters[0].payload(), Some(&[0, 255, 7][..]));
    let told = headers(&letters[0]);
    assert_eq!((&*told["partition"], &*told["offset"]), ("2", "77"));
    assert_eq!(told["reason"], "kind 9 is unknown");
    assert_eq!(
        (letters[1].key(), letters[1].payload()),
        (Some(&b"who?"[..]), Some(&b"what?"[..]))
    );
    assert_eq!(headers(&letters[1])["partition"], "1");
    close(&log);
}

#[test]
fn an_offset_that_is_gone_is_said_and_never_skipped() {
    let options = options("gone");
    migrate(&options);
    let (log, applied, answers) = open(&options);
    let places = append(&log, &answers, 0..300);
    wait("all is applied", || applied.count() == 300);
    close(&log);
    // The group is set back, and then the topic is cut off above it.
    let (partition, _) = places[0];
    let topic = options.messages();
    let list = |offset| {
        let mut list = TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(offset);
        list.add_partition_offset(&topic, partition.0 as i32, offset)
            .unwrap();
        list
    };
    let mut config = client(&options);
    let group: BaseConsumer = config.set("group.id", options.group()).create().unwrap();
    group.commit(&list(2), CommitMode::Sync).unwrap();
    let cut = futures_executor::block_on(admin(&options).delete_records(&list(8), &patience()));
    cut.unwrap();

    let (log, applied, _) = open(&options);
    wait("it is noticed", || {
        log.health()
            .iter()
            .any(|problem| problem.what.contains("offset 2"))
    });
    let problem = log.health().remove(0);
    assert!(
        problem.fatal && problem.what.contains(&format!("partition {partition}")),
        "{problem:?}"
    );
    assert!(problem.advice.contains("--reset-offsets"), "{problem:?}");
    assert_eq!(applied.count(), 0, "records were skipped");
    close(&log);

    // As the advice says.
    group.commit(&list(8), CommitMode::Sync).unwrap();
    let left = places
        .iter()
        .filter(|(of, offset)| *of == partition && offset.0 >= 8)
        .count();
    let (log, applied, _) = open(&options);
    wait("it goes on", || applied.count() == left);
    assert_eq!(log.health(), []);
    close(&log);
}
