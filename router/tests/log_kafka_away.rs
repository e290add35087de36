//! The Kafka log while brokers fail, on librdkafka's cluster of its own that speaks the protocol within this
//! process: what goes on by itself, what is answered when, and what is said meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

mod log_support;

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use log_support::PATIENCE;
use log_support::group::*;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
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

/// A client of the test's own.
fn own(cluster: &MockCluster<'_, impl rdkafka::ClientContext>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config
}

/// How long what must not happen is waited for: two looks at the offsets, and some.
const LOOKS: Duration = Duration::from_secs(6);

#[test]
fn a_partition_whose_log_was_cut_off_stays_stuck_when_it_grows() {
    let cluster = MockCluster::new(3).unwrap();
    let options = topics(&cluster);
    let (log, applied, answers) = open(&options);
    let places = append(&log, &answers, 0..100);
    wait("all is applied", || applied.count() == 100);
    // As if the log had been five records longer.
    let cut = places[0].0;
    let end = places.iter().filter(|(of, _)| *of == cut).count() as u64;
    log.set_watermark(cut, Offset(end + 5));
    log.close().unwrap();

    let (log, applied, answers) = open(&options);
    let told = || {
        let problems = log.health();
        let place = format!("partition {cut} goes on at offset {}", end + 5);
        problems
            .iter()
            .any(|problem| problem.fatal && problem.what.contains(&place))
    };
    wait("it is noticed", told);
    let grown = append(&log, &answers, 0..100);
    let others = grown.iter().filter(|(of, _)| *of != cut).count();
    wait("the others go on", || applied.count() == others);
    thread::sleep(LOOKS);
    assert!(told(), "{:?}", log.health());
    assert_eq!(applied.count(), others, "records were skipped");
    log.close().unwrap();
}

#[test]
fn a_partition_that_librdkafka_stopped_is_told_also_where_its_offset_is_there_again() {
    let cluster = MockCluster::new(1).unwrap();
    let options = topics(&cluster);
    let (log, applied, answers) = open(&options);
    append(&log, &answers, 0..100);
    wait("all is applied", || applied.count() == 100);
    assert_eq!(log.health(), []);
    let gone = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[gone]);
    wait("it is noticed", || !log.health().is_empty());
    thread::sleep(LOOKS);
    let problems = log.health();
    assert!(
        problems.len() == 1 && problems[0].what.contains("one of 0, 1, 2"),
        "{problems:?}"
    );
    log.close().unwrap();
}

#[test]
fn a_letter_that_cannot_be_kept_holds_up_its_partition_only() {
    let cluster = MockCluster::new(3).unwrap();
    // Who waits for a letter for so long holds up the others beyond this test's patience.
    let options = kafka::Options {
        delivery_timeout_ms: 300_000,
        ..topics(&cluster)
    };
    let (messages, letters) = (options.messages(), options.dead_letters());
    for partition in 0..3 {
        cluster
            .partition_leader(&messages, partition, Some(1))
            .unwrap();
    }
    cluster.partition_leader(&letters, 0, Some(2)).unwrap();
    let coordinator = rdkafka::mocking::MockCoordinator::Group(options.group());
    cluster.coordinator(coordinator, 1).unwrap();
    let (log, applied, answers) = open(&options);
    let before = append(&log, &answers, 0..100).len();
    wait("all is applied", || applied.count() == before);
    cluster.broker_down(2).unwrap();
    let foreign: BaseProducer = own(&cluster).create().unwrap();
    let record = BaseRecord::to(&messages)
        .key("who?")
        .payload("what?")
        .partition(1);
    foreign.send(record).map_err(|(error, _)| error).unwrap();
    foreign.flush(PATIENCE).unwrap();

    // One after the other, so that a thread that is held up for each shows.
    let (mut elsewhere, mut behind) = (before, 0);
    for key in 0..30 {
        let (partition, _) = append(&log, &answers, key..key + 1)[0];
        match partition {
            Partition(1) => behind += 1,
            _ => elsewhere += 1,
        }
        wait("the others go on", || applied.count() >= elsewhere);
    }
    wait("it is said", || !log.health().is_empty());
    assert!(behind > 0);
    assert_eq!(applied.count(), elsewhere, "something passed the letter");

    cluster.broker_up(2).unwrap();
    let all = elsewhere + behind;
    wait("all is applied", || applied.count() >= all);
    wait("that is over", || log.health().is_empty());
    log.close().unwrap();
    let mut places = applied.places();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), all, "something is missing");
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
    (0..appends).for_each(|n| log.append(1, vec![1], n).unwrap());
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
        log.append(1, vec![2], tried).unwrap();
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
    (0..500).for_each(|n| log.append(n, vec![1], n).unwrap());
    let begun = Instant::now();
    log.close().unwrap();
    assert!(
        begun.elapsed() < PATIENCE,
        "closed after {:?}",
        begun.elapsed()
    );
    assert_eq!(answers.try_iter().count(), 500);
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
fn who_was_thought_dead_is_told_so_and_begins_again_where_the_group_is() {
    let cluster = MockCluster::new(1).unwrap();
    let options = topics(&cluster);
    let (tell, told) = channel();
    let (answered, answers) = channel();
    let acks = Box::new(Answered(answered));
    let log = kafka::open(options, acks, Box::new(Told(tell))).unwrap();
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
    assert!(matches!(next(), Fed::Assigned(partitions) if partitions == all));
    let first = records(50);

    // The group says at the next heartbeat that it does not know this consumer.
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[unknown]);
    assert!(matches!(next(), Fed::Lost(partitions) if partitions == all));
    // Too late: another process may have gone on from there.
    log.set_watermark(Partition(0), Offset(5));
    assert!(matches!(next(), Fed::Assigned(partitions) if partitions == all));
    assert_eq!(records(50), first);
    log.close().unwrap();
}
