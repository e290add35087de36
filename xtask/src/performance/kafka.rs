//! Kafka's own command-line programs, as classes of the jars that the services run on: the producer that
//! Rookery is held against, a topic for it, and how far a consumer group is behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::checkout::Checkout;
use crate::process::{self, Ended};
use crate::screen::Step;
use crate::services::java;

const PRODUCER: &str = "org.apache.kafka.tools.ProducerPerformance";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// How a client logs in.
const LOGIN: &str = "docs/deploy/client.properties";

/// What the producer is given to be as durable as Rookery's: each record on the brokers that must have it,
/// once, compressed. Everything else is at its default.
const DURABLE: [&str; 3] = [
    "acks=all",
    "enable.idempotence=true",
    "compression.type=lz4",
];
/// Of the producer's topic and of the server's: one for each broker. librdkafka's requests are of one
/// partition each, and where all brokers share two cores more partitions only mean smaller requests.
pub(super) const PARTITIONS: u32 = 3;
const REPLICATION: u32 = 3;

/// A program that answers a question, a JVM's start included.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Kafka<'a> {
    checkout: &'a Checkout,
    java: PathBuf,
    jars: PathBuf,
    brokers: &'a str,
}

/// What the producer says at its end.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Produced {
    pub(super) command: String,
    pub(super) records: u64,
    pub(super) per_second: f64,
    /// Whole milliseconds: it measures no finer.
    pub(super) p50_ms: u64,
    pub(super) p99_ms: u64,
}

impl<'a> Kafka<'a> {
    pub(super) fn new(checkout: &'a Checkout, brokers: &'a str) -> Result<Self> {
        Ok(Self {
            checkout,
            java: java::find().context("no Java 17: cargo xtask services up installs it")?,
            jars: checkout.tools().join("kafka/jars"),
            brokers,
        })
    }

    fn command(&self, class: &str, heap: &str) -> Command {
        let mut command = self.checkout.command(&self.java);
        let jars = self.checkout.relative(&self.jars).join("*");
        command.arg(heap).arg("-cp").arg(jars).arg(class);
        command.args(["--bootstrap-server", self.brokers, "--command-config"]);
        command.arg(LOGIN);
        command
    }

    fn run(
        &self,
        command: &mut Command,
        name: &str,
        limit: Duration,
        step: &Step,
    ) -> Result<Ended> {
        let log = self.checkout.logs().join(format!("performance/{name}.log"));
        let ended = process::run(command, &log, limit, step)?;
        ensure!(ended.success, "{name} failed:\n{}", ended.tail(20));
        Ok(ended)
    }

    /// Makes a topic for the producer.
    pub(super) fn create(&self, topic: &str, step: &Step) -> Result<()> {
        let mut command = self.command(TOPICS, "-Xmx64m");
        command.args(["--create", "--topic", topic]);
        command.args(["--partitions", &PARTITIONS.to_string()]);
        command.args(["--replication-factor", &REPLICATION.to_string()]);
        command.args(["--config", "min.insync.replicas=2"]);
        self.run(&mut command, "create-topic", ANSWER_LIMIT, step)?;
        Ok(())
    }

    /// Removes it.
    pub(super) fn delete(&self, topic: &str, step: &Step) -> Result<()> {
        let mut command = self.command(TOPICS, "-Xmx64m");
        command.args(["--delete", "--topic", topic]);
        self.run(&mut command, "delete-topic", ANSWER_LIMIT, step)?;
        Ok(())
    }

    /// The producer alone: so many records of `bytes` each, at most `rate` in a second. `warm_up` more come
    /// first and are not counted.
    pub(super) fn produce(
        &self,
        topic: &str,
        (records, warm_up): (u64, u64),
        bytes: u32,
        rate: Option<u32>,
        step: &Step,
    ) -> Result<Produced> {
        let mut command = self.command(PRODUCER, "-Xmx256m");
        let throttle = rate.map_or("-1".to_owned(), |rate| rate.to_string());
        command.args(["--topic", topic, "--throughput", &throttle]);
        command.args(["--num-records", &(records + warm_up).to_string()]);
        command.args(["--warmup-records", &warm_up.to_string()]);
        command.args(["--record-size", &bytes.to_string(), "--command-property"]);
        command.args(DURABLE);
        // A tenth of what is usual here is still counted; less is a hang.
        let limit =
            Duration::from_secs(60 + (records + warm_up) / u64::from(rate.unwrap_or(2_000)));
        let told = told(&command);
        let ended = self.run(&mut command, "producer", limit, step)?;
        let last = ended.lines.iter().rev().find_map(|line| summary(line));
        let mut produced = last.with_context(|| format!("no summary:\n{}", ended.tail(10)))?;
        produced.command = told;
        Ok(produced)
    }

    /// Waits until the group has committed everything; how long that took, or `None` where it is still
    /// behind after `limit`.
    pub(super) fn level(
        &self,
        group: &str,
        limit: Duration,
        step: &Step,
    ) -> Result<Option<Duration>> {
        let began = Instant::now();
        loop {
            let mut command = self.command(GROUPS, "-Xmx64m");
            command.args(["--describe", "--offsets", "--group", group]);
            // What it tells is of the moment at which it asked, near its end.
            let ended = self.run(&mut command, "group", ANSWER_LIMIT, step)?;
            match behind(&ended.lines) {
                None => bail!("the group {group} has no offsets:\n{}", ended.tail(20)),
                Some(0) => return Ok(Some(began.elapsed())),
                Some(_) if began.elapsed() > limit => return Ok(None),
                Some(records) => step.says(&format!("{records} records are not stored yet")),
            }
        }
    }
}

/// As a person types it at the checkout's root.
fn told(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let word = |word: &std::ffi::OsStr| match Path::new(word).is_absolute() {
        true => "java".to_owned(),
        false => word.to_string_lossy().into_owned(),
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// "5000 steady state records sent, 989.119683 records/sec (0.28 MB/sec), 28.83 ms avg latency, 139.00 ms max
/// latency, 17 ms 50th, 95 ms 95th, 123 ms 99th, 135 ms 99.9th."
fn summary(line: &str) -> Option<Produced> {
    let (records, rest) = line.split_once(" records sent, ")?;
    let (per_second, rest) = rest.split_once(" records/sec")?;
    let percentile = |name: &str| {
        let before = rest
            .split(", ")
            .find_map(|part| part.trim_end_matches('.').strip_suffix(name))?;
        before.trim().strip_suffix("ms")?.trim().parse().ok()
    };
    Some(Produced {
        command: String::new(),
        // "5000 steady state" without what was sent to warm up.
        records: records.split_whitespace().next()?.parse().ok()?,
        per_second: per_second.trim().parse().ok()?,
        p50_ms: percentile("50th")?,
        p99_ms: percentile("99th")?,
    })
}

/// The sum of the column LAG over the group's partitions; a partition of which nothing was committed counts
/// as its end. None where there is no such table.
fn behind(lines: &[String]) -> Option<u64> {
    let at = lines
        .iter()
        .position(|line| line.contains("CURRENT-OFFSET"))?;
    let headings: Vec<&str> = lines.get(at)?.split_whitespace().collect();
    let column = |name| headings.iter().position(|&heading| heading == name);
    let (lag, end) = (column("LAG")?, column("LOG-END-OFFSET")?);
    let mut sum = 0;
    for line in &lines[at + 1..] {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let number = |column: usize| cells.get(column).and_then(|cell| cell.parse::<u64>().ok());
        sum += number(lag).or_else(|| number(end)).unwrap_or(0);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_producers_summary_is_read() {
        let line = "5000 steady state records sent, 989.119683 records/sec (0.28 MB/sec), 28.83 ms avg \
                    latency, 139.00 ms max latency, 17 ms 50th, 95 ms 95th, 123 ms 99th, 135 ms 99.9th.";
        let produced = summary(line).unwrap();
        let counts = (produced.records, produced.p50_ms, produced.p99_ms);
        assert_eq!(counts, (5_000, 17, 123));
        assert!((produced.per_second - 989.119_683).abs() < 1e-9);
        let going_on = "5001 records sent, 1000.2 records/sec (0.29 MB/sec), 3.5 ms avg latency, 9.0 ms max latency.";
        assert_eq!(summary(going_on), None);
    }

    #[test]
    fn what_a_group_lacks_is_summed() {
        let table = "\n\
            GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID\n\
            a a.messages 0 90 100 10 x /127.0.0.1 y\n\
            a a.messages 1 - 7 - x /127.0.0.1 y\n\
            a a.messages 2 5 5 0 x /127.0.0.1 y\n";
        let lines: Vec<String> = table.lines().map(str::to_owned).collect();
        assert_eq!(behind(&lines), Some(17));
        assert_eq!(behind(&["Error: no such group".to_owned()]), None);
    }
}
