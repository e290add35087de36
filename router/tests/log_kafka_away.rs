//! The Kafka log while brokers fail, on librdkafka's cluster of its own that speaks the protocol within this
//! process: what goes on by itself, what is answered when, and what is said meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

mod log_support;

use std::time::{Duration, Instant};

use log_support::PATIENCE;
use log_support::group::*;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rookery_router::log::kafka;
use rookery_router::log::{AppendError, Log};

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
    log.append(1, vec![1], 1).unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "an append blocked"
    );
    let outcome = answers.recv_timeout(PATIENCE).unwrap();
    assert!(
        matches!(outcome, Err(AppendError::TimedOut { .. })),
        "{outcome:?}"
    );
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
        begun.elapsed() < Duration::from_secs(30),
        "closed after {:?}",
        begun.elapsed()
    );
    assert_eq!(answers.try_iter().count(), 500);
}
