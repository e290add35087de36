//! The Kafka log while brokers fail, on librdkafka's cluster of its own that speaks the protocol within this
//! process: what goes on by itself, what is answered when, and what is said meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

mod log_support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use log_support::group::*;
use log_support::{PATIENCE, partition_of};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rookery_router::log::kafka;
use rookery_router::log::{AppendError, Fed, Feed, Log, Offset, Partition};

const DELIVERY_TIMEOUT_MS: u32 = 1500;

/// Options of a cluster with both topics.
fn topics(cluster: &MockCluster<'_, impl rdkafka::ClientContext>) -> kafka::Options {
    let servers = cluster.bootstrap_servers();
    let options = kafka::Options {
        brokers: servers.split(',').map(str::to_owned).collect(),
        delivery_timeout_ms: DELIVERY_TIMEOUT_MS,
        ..kafka::Options::default()
    };
    cluster.create_topic(&options.messages(), 3, 3).unwrap();
    cluster.create_topic(&options.dead_letters(), 1, 3).unwrap();
    options
}

#[test]
fn a_store_that_is_ahead_of_the_topic_ends_the_process_and_nothing_is_acked() {
    let cluster = MockCluster::new(3).unwrap();
    let options = topics(&cluster);
    let (log, applied, answers) = open(&options);
    let places = append(&log, &answers, 0..100);
    wait("all is applied", || applied.count() == 100);
    log.close().unwrap();
    // As if the log had been five records longer.
    let cut = places[0].0;
    let end = places.iter().filter(|(of, _)| *of == cut).count() as u64;
    positions(&options).set(cut, Offset(end + 5));

    let (log, applied, answers) = open(&options);
    wait("it ends", || log.ended().is_some());
    let why = log.ended().unwrap();
    let said = format!("partition {cut} goes on at offset {}", end + 5);
    assert!(
        why.contains(&said) && why.contains("Stop all edges"),
        "{why}"
    );
    assert!(log.health().iter().any(|problem| problem.fatal));
    for key in 0..20 {
        if log.append(partition_of(key), key, vec![1], key).is_ok() {
            answers.recv_timeout(PATIENCE).unwrap().unwrap_err();
        }
    }
    log.close().unwrap();
    let of_cut = applied.places().into_iter().filter(|(of, _)| *of == cut);
    assert_eq!(of_cut.count(), 0, "records were skipped");
}

#[test]
fn a_partition_that_librdkafka_stops_ends_the_process() {
    let cluster = MockCluster::new(1).unwrap();
    let options = topics(&cluster);
    let (log, applied, answers) = open(&options);
    append(&log, &answers, 0..100);
    wait("all is applied", || applied.count() == 100);
    assert_eq!(log.health(), []);
    let gone = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[gone]);
    wait("it ends", || log.ended().is_some());
    let why = log.ended().unwrap();
    assert!(why.contains("lacks the offset"), "{why}");
    log.close().unwrap();
}

#[test]
fn partitions_that_are_not_told_where_they_begin_hold_up_nobody() {
    let cluster = MockCluster::new(1).unwrap();
    let (log, told, answers) = feeding(topics(&cluster));
    append(&log, &answers, 0..50);
    let Fed::Assigned { partitions, begin } = told.recv_timeout(PATIENCE).unwrap() else {
        panic!("nothing was assigned");
    };
    // Longer than a poll, and than librdkafka takes to read all that there is.
    let quiet = told.recv_timeout(Duration::from_secs(2));
    assert!(quiet.is_err(), "{quiet:?}");
    // Acks go on.
    let places = append(&log, &answers, 50..100);
    let from = |id: Partition| Offset(u64::from(id.0));
    let begins = partitions.iter().map(|id| (*id, from(*id))).collect();
    begin.send(begins).unwrap();
    let mut first = std::collections::BTreeMap::new();
    while first.len() < partitions.len() {
        if let Fed::Records(records) = told.recv_timeout(PATIENCE).unwrap() {
            let it = &records[0];
            first.entry(it.partition).or_insert(it.offset);
        }
    }
    assert!(
        places.iter().all(|(id, _)| first[id] == from(*id)),
        "{first:?}"
    );
    log.close().unwrap();
}

#[test]
fn a_leader_that_is_none_any_more_is_nobodys_concern() {
    let cluster = MockCluster::new(3).unwrap();
    let options = topics(&cluster);
    let (log, applied, answers) = open(&options);
    append(&log, &answers, 0..100);
    let moved = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[moved; 3]);
    // Each is durable, and once.
    append(&log, &answers, 100..200);
    wait("all is applied", || applied.count() >= 200);
    assert_eq!(log.health(), []);
    log.close().unwrap();
    assert_eq!(applied.count(), 200);
}

#[test]
fn all_brokers_may_go_and_come_back() {
    let cluster = MockCluster::new(3).unwrap();
    let options = topics(&cluster);
    let (log, applied, answers) = open(&options);
    append(&log, &answers, 0..100);
    wait("all is applied", || applied.count() == 100);

    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    let begun = Instant::now();
    // None blocks: each would for the time limit of a delivery, all of them for longer than we wait.
    let appends = 100;
    (0..appends).for_each(|n| log.append(partition_of(1), 1, vec![1], n).unwrap());
    assert!(begun.elapsed() < PATIENCE, "an append blocked");
    for _ in 0..appends {
        let outcome = answers.recv_timeout(PATIENCE).unwrap();
        assert!(
            matches!(outcome, Err(AppendError::TimedOut { .. })),
            "{outcome:?}"
        );
    }
    let least = Duration::from_millis(u64::from(DELIVERY_TIMEOUT_MS) - 100);
    assert!(begun.elapsed() >= least, "after {:?}", begun.elapsed());
    wait("it is said", || !log.health().is_empty());
    let problems = log.health();
    assert!(
        problems.iter().all(|problem| !problem.fatal),
        "{problems:?}"
    );

    (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
    let patience = Instant::now() + PATIENCE;
    let mut tried = 0;
    loop {
        assert!(Instant::now() < patience, "appends fail for ever");
        tried += 1;
        log.append(partition_of(1), 1, vec![2], tried).unwrap();
        if answers.recv_timeout(PATIENCE).unwrap().is_ok() {
            break;
        }
    }
    append(&log, &answers, 200..250);
    wait("what came after is applied", || applied.count() >= 151);
    wait("that is over", || log.health().is_empty());
    log.close().unwrap();
}

#[test]
fn a_log_that_closes_while_brokers_are_away_answers_every_ticket() {
    let cluster = MockCluster::new(3).unwrap();
    let options = topics(&cluster);
    let (log, _, answers) = open(&options);
    append(&log, &answers, 0..10);
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    (0..500).for_each(|n| log.append(partition_of(n), n, vec![1], n).unwrap());
    let begun = Instant::now();
    log.close().unwrap();
    assert!(
        begun.elapsed() < PATIENCE,
        "closed after {:?}",
        begun.elapsed()
    );
    assert_eq!(answers.try_iter().count(), 500);
}

/// Opened, with what it feeds and what it answers.
fn feeding(options: kafka::Options) -> (kafka::KafkaLog, Receiver<Fed>, Answers) {
    let (tell, told) = channel();
    let (answered, answers) = channel();
    let acks = Box::new(Answered(answered));
    let log = kafka::open(options, acks, Box::new(Told(tell))).unwrap();
    (log, told, answers)
}

/// Passes on what it is given, and marks nothing.
struct Told(Sender<Fed>);

impl Feed for Told {
    fn feed(&mut self, fed: Fed) -> bool {
        drop(self.0.send(fed));
        true
    }
}

#[test]
fn who_was_thought_dead_is_told_so_and_begins_again_where_it_is_told() {
    let cluster = MockCluster::new(1).unwrap();
    let (log, told, answers) = feeding(topics(&cluster));
    append(&log, &answers, 0..50);
    let next = || told.recv_timeout(PATIENCE).unwrap();
    let records = |count: usize| {
        let mut places = Vec::new();
        while places.len() < count {
            match next() {
                Fed::Records(records) => {
                    places.extend(
                        records
                            .iter()
                            .map(|record| (record.partition, record.offset)),
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        places.sort_unstable();
        places
    };
    let all: Vec<Partition> = (0..3).map(Partition).collect();
    let assigned = |fed| match fed {
        Fed::Assigned { partitions, begin } if partitions == all => {
            let begins = partitions.into_iter().map(|it| (it, Offset(0))).collect();
            begin.send(begins).unwrap();
        }
        other => panic!("{other:?}"),
    };
    assigned(next());
    let first = records(50);

    // The group says at the next heartbeat that it does not know this consumer.
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[unknown]);
    assert!(matches!(next(), Fed::Lost(partitions) if partitions == all));
    // Too late: another process may have gone on from there.
    log.set_watermark(Partition(0), Offset(5));
    assigned(next());
    assert_eq!(records(50), first);
    log.close().unwrap();
}
