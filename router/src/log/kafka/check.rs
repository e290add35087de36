//! Everything that is wrong with the brokers and the topics, for `check-config --connect`: asked from
//! outside, with a few seconds for each question, and told at once instead of one by one.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::health::{SERVICE, Trouble};
use super::options::Options;
use super::topics::{Hearsay, PARTITIONS, REPLICATION, TIMEOUT, metadata, refusal};
use crate::log::LogError;
use crate::problem::Problem;
use crate::tls::{Opening, Target, probe};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Fewer partitions than this and a handful of processes cannot share them evenly.
const PARTITIONS_MIN: usize = 12;
/// Records that are not applied for so long were forgotten by whoever sent them too: 7 days.
const RETENTION_MS_MIN: i64 = 7 * 24 * 3600 * 1000;

/// Asks the brokers whether the log can work, and keep its promise. Blocks for some seconds where they
/// do not answer.
#[must_use]
pub fn check(options: &Options) -> Vec<Problem> {
    if let Err(LogError::Options(what)) = options.check() {
        return vec![fatal(what, "Correct it in [kafka].")];
    }
    let mut problems = silent(&options.brokers);
    if problems.len() == options.brokers.len() {
        problems.iter_mut().for_each(|problem| problem.fatal = true);
        return problems;
    }
    let topic = options.messages();
    match metadata(options, &topic) {
        Err((Trouble::Unreachable, what)) => {
            let faults = tls_faults(options, &options.brokers);
            if faults.is_empty() {
                problems.push(fatal(what, Trouble::Unreachable.advice()));
            }
            problems.extend(faults);
        }
        Err((trouble, what)) => problems.push(fatal(what, trouble.advice())),
        Ok(found) => {
            problems.extend(advertised(options, &found));
            check_topics(options, &found, &mut problems);
        }
    }
    problems
}

fn fatal(what: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem::fatal(SERVICE, what, advice)
}

fn warning(what: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem::warning(SERVICE, what, advice)
}

/// The brokers of the list that take no connection.
fn silent(brokers: &[String]) -> Vec<Problem> {
    let unreachable = brokers.iter().filter_map(|broker| {
        let why = connect(broker).err()?;
        let what = format!("the broker {broker} cannot be reached: {why}");
        Some(warning(
            what,
            "Start it, open the way to it, or correct brokers in [kafka].",
        ))
    });
    unreachable.collect()
}

fn connect(broker: &str) -> Result<(), String> {
    let addresses = broker
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let mut why = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// ApiVersions, version 0, of a client without a name: answered before anybody logs in.
const API_VERSIONS: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// The brokers of the list whose TLS and ours do not fit.
fn tls_faults(options: &Options, brokers: &[String]) -> Vec<Problem> {
    let faults = brokers.iter().filter_map(|broker| {
        let target = Target {
            address: broker.clone(),
            opening: Opening::Direct(API_VERSIONS),
            by_address: false,
        };
        let fault = probe(&target, options.tls.as_ref())?;
        Some(fault.problem(SERVICE, broker))
    });
    faults.collect()
}

/// Brokers that are known to the others under an address that leads nowhere from here.
fn advertised(options: &Options, found: &Metadata) -> Vec<Problem> {
    let others = found.brokers().iter().map(|broker| {
        let host = broker.host();
        match host.contains(':') {
            true => format!("[{host}]:{}", broker.port()),
            false => format!("{host}:{}", broker.port()),
        }
    });
    let others: Vec<String> = others
        .filter(|broker| !options.brokers.contains(broker))
        .collect();
    let mut problems = silent(&others);
    for problem in &mut problems {
        problem.advice =
            "The others name it so: start it, or correct its advertised.listeners.".into();
    }
    // The name that they advertise is the one that certificates are held to.
    if options.tls.is_some() {
        problems.extend(tls_faults(options, &others));
    }
    problems
}

fn check_topics(options: &Options, found: &Metadata, problems: &mut Vec<Problem>) {
    let (messages, letters) = (options.messages(), options.dead_letters());
    if let Ok(found) = metadata(options, &letters)
        && let Some((trouble, what)) = refusal(&found, &letters)
    {
        problems.push(fatal(what, trouble.advice()));
    }
    if let Some((trouble, what)) = refusal(found, &messages) {
        problems.push(fatal(what, trouble.advice()));
        return;
    }
    let Some(topic) = found.topics().iter().find(|topic| topic.name() == messages) else {
        return;
    };
    let replication = check_partitions(topic, problems);
    match settings(options, &messages) {
        Ok(settings) => {
            let setting = |name: &str| settings.get(name).and_then(|entry| entry.value.clone());
            check_settings(options, replication, setting, problems);
        }
        Err(why) => problems.push(warning(
            format!("the settings of {messages} cannot be read: {why}"),
            "Allow this user DescribeConfigs on the topic, or check them by hand.",
        )),
    }
}

/// Gives the number of copies.
fn check_partitions(topic: &MetadataTopic, problems: &mut Vec<Problem>) -> usize {
    let (name, partitions) = (topic.name(), topic.partitions());
    let copies = partitions
        .iter()
        .map(|partition| partition.replicas().len())
        .min()
        .unwrap_or(0);
    let orphans = partitions
        .iter()
        .filter(|partition| partition.leader() < 0)
        .count();
    if orphans > 0 {
        let what = format!(
            "{orphans} of {} partitions of {name} have no leader",
            partitions.len()
        );
        problems.push(fatal(what, "Start the brokers that hold them."));
    }
    if partitions.len() < PARTITIONS_MIN {
        problems.push(warning(
            format!(
                "{name} has {} partitions; at most so many processes consume",
                partitions.len()
            ),
            format!(
                "Add some with `rookery migrate --partitions {PARTITIONS}`, also while edges run. \
                 (Those that other tools add are not used until it has run.)"
            ),
        ));
    }
    if copies < REPLICATION as usize {
        problems.push(warning(format!("{name} has a replication factor of {copies}; acked messages are lost with the disks of {copies} brokers"),
            "Give it a factor of 3 on three brokers or more (kafka-reassign-partitions.sh).",
        ));
    }
    copies
}

fn settings(options: &Options, topic: &str) -> Result<ConfigResource, String> {
    let admin: AdminClient<Hearsay> = options
        .client()
        .create_with_context(Hearsay::default())
        .map_err(|error| error.to_string())?;
    let patience = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let asked = [ResourceSpecifier::Topic(topic)];
    let mut told =
        block_on(admin.describe_configs(&asked, &patience)).map_err(|error| error.to_string())?;
    told.pop()
        .ok_or_else(|| "nothing was answered".to_owned())?
        .map_err(|code| code.to_string())
}

fn check_settings(
    options: &Options,
    copies: usize,
    setting: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) {
    let name = options.messages();
    let number = |key: &str| setting(key).and_then(|value| value.parse::<i64>().ok());
    let alter = |pair: &str| format!("kafka-configs.sh --alter --topic {name} --add-config {pair}");
    let copies = copies as i64;
    match number("min.insync.replicas") {
        // Since Kafka 4 the smaller number counts; before, nothing could be written.
        Some(min) if min > copies => problems.push(warning(
            format!(
                "{name} wants {min} replicas in sync and has {copies}: older brokers take nothing"
            ),
            "Give it a factor of 3 on three brokers or more (kafka-reassign-partitions.sh).",
        )),
        Some(min) if min == copies && copies > 1 => problems.push(warning(
            format!("{name} wants all {copies} replicas in sync: no broker may be away"),
            alter("min.insync.replicas=2"),
        )),
        Some(min) if min < 2 && copies > 1 => problems.push(warning(
            format!("{name} acks with {min} replica in sync: its loss loses acked messages"),
            alter("min.insync.replicas=2"),
        )),
        _ => {}
    }
    if setting("unclean.leader.election.enable").as_deref() == Some("true") {
        problems.push(warning(
            format!("{name} may be led by a broker that has not all acked messages"),
            alter("unclean.leader.election.enable=false"),
        ));
    }
    if setting("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        problems.push(fatal(
            format!("{name} is compacted: it would keep one message of each conversation"),
            alter("cleanup.policy=delete"),
        ));
    }
    if let Some(kept) = number("retention.ms").filter(|kept| (0..RETENTION_MS_MIN).contains(kept)) {
        problems.push(warning(
            format!(
                "{name} keeps records for {} hours, applied or not",
                kept / 3_600_000
            ),
            alter("retention.ms=-1"),
        ));
    }
    let bytes = options.message_bytes_max() as i64;
    if let Some(taken) = number("max.message.bytes").filter(|taken| *taken < bytes) {
        problems.push(fatal(
            format!("{name} takes records of {taken} bytes; the longest of ours have {bytes}"),
            alter(&format!("max.message.bytes={bytes}")),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(copies: usize, settings: &[(&str, &str)]) -> Vec<(bool, String)> {
        let options = Options {
            brokers: vec!["a.example:9092".into()],
            ..Options::default()
        };
        let good = [
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("max.message.bytes", "1048588"),
        ];
        let setting = |name: &str| {
            let mut all = settings.iter().chain(&good);
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let mut problems = Vec::new();
        check_settings(&options, copies, setting, &mut problems);
        problems
            .into_iter()
            .map(|problem| (problem.fatal, problem.what))
            .collect()
    }

    #[test]
    fn each_setting_that_breaks_the_promise_is_found() {
        assert_eq!(told(3, &[]), []);
        let one = |copies, key, value, words: &str, fatal: bool| {
            let told = told(copies, &[(key, value)]);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].1.contains(words) && told[0].0 == fatal, "{told:?}");
        };
        one(3, "min.insync.replicas", "1", "acks with 1 replica", false);
        one(
            3,
            "min.insync.replicas",
            "3",
            "no broker may be away",
            false,
        );
        one(1, "min.insync.replicas", "2", "take nothing", false);
        one(
            3,
            "unclean.leader.election.enable",
            "true",
            "not all acked",
            false,
        );
        one(3, "cleanup.policy", "compact,delete", "compacted", true);
        one(3, "retention.ms", "3600000", "1 hours", false);
        one(
            3,
            "max.message.bytes",
            "1000",
            "takes records of 1000",
            true,
        );
    }
}
