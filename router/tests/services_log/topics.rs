//! What the Kafka log asks of its topics and brokers: where a record lies, and what a check
//! finds.

use std::sync::mpsc::channel;

use rdkafka::admin::{NewTopic, TopicReplication};
use rookery_router::log::kafka;
use rookery_router::log::{Log, LogError, Partition};

use crate::log_support::PARTITIONS;
use crate::log_support::PATIENCE;
use crate::log_support::forms::{migrate, options};
use crate::log_support::group::*;

#[test]
fn a_record_lies_where_it_was_put() {
    let options = options("placed");
    migrate(&options);
    let (log, _, answers) = open(&options);
    for n in 0..9 {
        let asked = Partition(n % PARTITIONS);
        log.append(asked, 7, vec![1], 1).unwrap();
        let (partition, _) = answers.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(partition, asked);
    }
    close(&log);
}

/// What a check says: fatal or not, and the sentence.
fn checked(options: &kafka::Options) -> Vec<(bool, String)> {
    let problems = kafka::check(options).into_iter();
    problems
        .map(|problem| {
            assert_eq!(problem.service, "kafka");
            assert!(!problem.advice.is_empty());
            (problem.fatal, problem.what)
        })
        .collect()
}

#[test]
fn a_check_finds_each_problem() {
    let good = options("check");
    let copies = good.brokers.len().min(3);
    let open = |options: &kafka::Options| {
        let acks = Box::new(Answered(channel().0));
        match kafka::open(options.clone(), acks, Box::new(Applied::default())) {
            Err(LogError::Service { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    };

    let missing = checked(&good);
    let names = [good.dead_letters(), good.messages()];
    assert_eq!(
        missing,
        names.map(|name| (true, format!("there is no topic {name}")))
    );
    assert!(open(&good).contains("rookery migrate"));

    assert_eq!(kafka::ensure(&good, 60, copies as u32).unwrap().len(), 2);
    assert_eq!(
        kafka::ensure(&good, 60, copies as u32).unwrap(),
        [""; 0],
        "they are there"
    );
    let few_copies = usize::from(copies < 3);
    assert_eq!(checked(&good).len(), few_copies, "{:?}", checked(&good));

    let mut one_away = good.clone();
    one_away.brokers.push("127.0.0.1:1".into());
    let told = checked(&one_away);
    assert!(
        !told[0].0 && told[0].1.contains("127.0.0.1:1 cannot be reached"),
        "{told:?}"
    );
    let mut all_away = good.clone();
    all_away.brokers = vec!["127.0.0.1:1".into()];
    let told = checked(&all_away);
    assert!(told.len() == 1 && told[0].0, "{told:?}");
    assert!(open(&all_away).contains("Start the brokers"));

    let mut stranger = good.clone();
    stranger.password = Some("wrong".into());
    let told = kafka::check(&stranger);
    assert!(
        told.len() == 1 && told[0].fatal && told[0].advice.contains("password"),
        "{told:?}"
    );
    assert!(open(&stranger).contains("password"));

    let weak = options("weak");
    let (messages, letters) = (weak.messages(), weak.dead_letters());
    make_topic(
        &weak,
        NewTopic::new(&messages, 2, TopicReplication::Fixed(1))
            .set("min.insync.replicas", "2")
            .set("unclean.leader.election.enable", "true")
            .set("cleanup.policy", "compact")
            .set("retention.ms", "60000")
            .set("max.message.bytes", "100000"),
    );
    make_topic(
        &weak,
        NewTopic::new(&letters, 1, TopicReplication::Fixed(1)),
    );
    let told = checked(&weak);
    for words in [
        "has 2 partitions",
        "replication factor of 1",
        "wants 2 replicas in sync",
        "not all acked messages",
        "is compacted",
        "keeps records for 0 hours",
        "takes records of 100000 bytes",
    ] {
        assert!(
            told.iter().any(|(_, what)| what.contains(words)),
            "{words}: {told:?}"
        );
    }
    assert_eq!(told.len(), 7, "{told:?}");
}
