//! What is wrong with a CQL cluster, for an operator, before anything is started on it.

use std::collections::{BTreeSet, HashMap};

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;

use super::options::Options;
use super::{fault, migrations, session};
use crate::problem::Problem;
use crate::store::StoreError;
use crate::tls::{self, Fault, Opening, Target};

/// Copies of every row below which the loss of a node loses the quorum.
const COPIES_MIN: u32 = 3;
/// What is known to work: Cassandra's releases that are still kept up, and the first ScyllaDB whose schema changes are
/// serialized (Raft) without a switch.
const CASSANDRA_MIN: (u32, u32) = (4, 0);
const SCYLLA_MIN: (u32, u32) = (6, 0);

fn fatal(what: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem::fatal(fault::SERVICE, what, advice)
}

fn warning(what: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem::warning(fault::SERVICE, what, advice)
}

/// Connects and looks: nodes, credentials, the servers' version, the keyspace with its copies, and the
/// schema. Changes nothing.
pub async fn check(options: &Options) -> Vec<Problem> {
    if let Err(error) = options.check() {
        return vec![fatal(error.to_string(), "Change the [cql] section.")];
    }
    let session = match session::open(options).await {
        Ok(session) => session,
        Err(error) if fault::is_credentials(&error) => {
            let what = format!(
                "{} refuses the role `{}`: {error}",
                options.nodes.join(", "),
                options.username
            );
            return vec![fatal(
                what,
                "Check username and password, and that the role may log in.",
            )];
        }
        Err(error) => {
            if let Some((address, fault)) = tls_fault(options).await {
                return vec![fault.problem(fault::SERVICE, &address)];
            }
            let what = format!("cannot reach {}: {error}", options.nodes.join(", "));
            let advice = "Check that the nodes run, that the addresses are those of their native transport \
                          (port 9042 unless configured), and that nothing between blocks it.";
            return vec![fatal(what, advice)];
        }
    };
    match look(&session, options).await {
        Ok(problems) => problems,
        Err(error) => vec![fatal(
            error.to_string(),
            "Check that the role may read `system` and `system_schema`.",
        )],
    }
}

/// OPTIONS of the native protocol, version 4, stream 0, without a body: answered before anybody logs in.
const CQL_OPTIONS: &[u8] = &[4, 0, 0, 0, 5, 0, 0, 0, 0];

/// The first node whose TLS and ours do not fit, and why.
async fn tls_fault(options: &Options) -> Option<(String, Fault)> {
    for node in &options.nodes {
        let target = Target {
            address: node.clone(),
            opening: Opening::Direct(CQL_OPTIONS),
            by_address: true,
        };
        if let Some(fault) = tls::ask(target, options.tls.clone()).await {
            return Some((node.clone(), fault));
        }
    }
    None
}

async fn look(session: &Session, options: &Options) -> Result<Vec<Problem>, StoreError> {
    if let Some(datacenter) = &options.datacenter
        && let Some(problem) = nobody_in(session, datacenter)
    {
        // There is nobody to ask anything else.
        return Ok(vec![problem]);
    }
    let mut problems = Vec::from_iter(version(session).await?);
    match keyspace(session, options).await? {
        None => {
            let what = format!("the keyspace `{}` is missing", options.keyspace);
            let advice = "Run `rookery migrate`, which creates it with the configured replication, or create \
                          it by hand and then run it.";
            problems.push(fatal(what, advice));
            return Ok(problems);
        }
        Some(found) => problems.extend(found),
    }
    if let Some(what) = undecided(session, options).await? {
        problems.push(fatal(what, CHOOSE));
    }
    let pending = migrations::pending(options).await?;
    if !pending.is_empty() {
        let what = format!(
            "the schema of `{}` is {} behind: {}",
            options.keyspace,
            count(pending.len(), "migration"),
            pending.join(", ")
        );
        problems.push(fatal(what, "Run `rookery migrate`."));
    }
    Ok(problems)
}

fn count(number: usize, name: &str) -> String {
    match number {
        1 => format!("1 {name}"),
        _ => format!("{number} {name}s"),
    }
}

/// A server that is older than what is known to work.
async fn version(session: &Session) -> Result<Option<Problem>, StoreError> {
    // A table that only ScyllaDB has; for others it is an error of the request.
    let scylla = rows::<(String,)>(session, "SELECT version FROM system.versions", ()).await;
    let (name, version, least) = match scylla {
        Ok(rows) if !rows.is_empty() => ("ScyllaDB", rows[0].0.clone(), SCYLLA_MIN),
        _ => {
            let text = "SELECT release_version FROM system.local";
            let rows = rows::<(String,)>(session, text, ()).await?;
            let version = rows.into_iter().next().map(|(version,)| version);
            ("Cassandra", version.unwrap_or_default(), CASSANDRA_MIN)
        }
    };
    let old = numbers(&version).is_none_or(|numbers| numbers < least);
    Ok(old.then(|| {
        let what = format!("the servers run {name} {version}");
        let advice = format!("Use {name} {}.{} or newer.", least.0, least.1);
        warning(what, advice)
    }))
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-', '~']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A datacenter that has no node: every request would find nobody to ask.
fn nobody_in(session: &Session, datacenter: &str) -> Option<Problem> {
    let there = datacenters(session);
    (!there.contains(datacenter)).then(|| {
        let what = format!("no node is in the datacenter `{datacenter}`");
        fatal(
            what,
            format!("The cluster's datacenters: {}.", listed(&there)),
        )
    })
}

/// Of the cluster's nodes.
fn datacenters(session: &Session) -> BTreeSet<String> {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter();
    nodes.filter_map(|node| node.datacenter.clone()).collect()
}

fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(", ")
}

/// What to do where [`undecided`] says something.
pub(super) const CHOOSE: &str = "Set `datacenter` in [cql], on every host to the same.";

/// Why it has to be said which datacenter is asked: with copies of the keyspace in several, a read with a
/// local quorum in one does not meet what was written with one in another.
pub(super) async fn undecided(
    session: &Session,
    options: &Options,
) -> Result<Option<String>, StoreError> {
    if options.datacenter.is_some() {
        return Ok(None);
    }
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found = rows::<(HashMap<String, String>,)>(session, text, (&options.keyspace,)).await?;
    let Some((replication,)) = found.into_iter().next() else {
        return Ok(None);
    };
    let holding = holding(&replication, &datacenters(session));
    Ok(several(&options.keyspace, &holding))
}

/// What is wrong where nobody chose among the datacenters that hold a keyspace.
fn several(keyspace: &str, holding: &BTreeSet<String>) -> Option<String> {
    (holding.len() > 1).then(|| {
        format!(
            "the keyspace `{keyspace}` has copies in {} datacenters ({}), and none is chosen: what was written \
             in one may be read too early in another",
            holding.len(),
            listed(holding)
        )
    })
}

/// The datacenters with copies of a keyspace. `NetworkTopologyStrategy` names them, whether they have nodes
/// yet or not; other strategies use whatever there is.
fn holding(
    replication: &HashMap<String, String>,
    datacenters: &BTreeSet<String>,
) -> BTreeSet<String> {
    let class = replication.get("class").map_or("", String::as_str);
    if !class.ends_with("NetworkTopologyStrategy") {
        return datacenters.clone();
    }
    let named = replication.iter().filter(|(name, copies)| {
        // For all that are not named; servers write it out by datacenter as they store it.
        let is_datacenter = !matches!(name.as_str(), "class" | "replication_factor");
        is_datacenter && copies.as_str() != "0"
    });
    named.map(|(name, _)| name.clone()).collect()
}

/// What is wrong with the keyspace; `None` where there is none.
async fn keyspace(
    session: &Session,
    options: &Options,
) -> Result<Option<Vec<Problem>>, StoreError> {
    let text =
        "SELECT replication, durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found =
        rows::<(HashMap<String, String>, bool)>(session, text, (&options.keyspace,)).await?;
    let Some((replication, durable)) = found.into_iter().next() else {
        return Ok(None);
    };
    let mut problems = Vec::new();
    if !durable {
        let what = format!("the keyspace `{}` has durable_writes off", options.keyspace);
        let advice = "ALTER KEYSPACE … WITH durable_writes = true: offsets are committed on the strength of its writes.";
        problems.push(fatal(what, advice));
    }
    let factor = |(name, value): (&String, &String)| match name.as_str() {
        "class" => None,
        _ => value.parse::<u32>().ok(),
    };
    let copies = replication.iter().filter_map(factor).min().unwrap_or(0);
    if copies < COPIES_MIN {
        let what = format!(
            "the keyspace `{}` keeps {} of a row",
            options.keyspace,
            match copies {
                1 => "1 copy".to_owned(),
                _ => format!("{copies} copies"),
            }
        );
        let advice = format!(
            "With fewer than {COPIES_MIN} the loss of one node stops writes or loses rows; ALTER KEYSPACE and \
             repair, unless this is a test."
        );
        problems.push(warning(what, advice));
    }
    Ok(Some(problems))
}

async fn rows<R>(
    session: &Session,
    text: &str,
    values: impl SerializeRow,
) -> Result<Vec<R>, StoreError>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let result = session
        .query_unpaged(text, values)
        .await
        .map_err(|error| fault::of_execution("check", &error))?;
    let failed = |error: &dyn std::fmt::Display| fault::failed("check", error);
    let result = result.into_rows_result().map_err(|error| failed(&error))?;
    let rows = result.rows::<R>().map_err(|error| failed(&error))?;
    rows.collect::<Result<_, _>>()
        .map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_is_in_the_datacenters_that_its_strategy_says() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let there: BTreeSet<String> = set(&["dc1", "dc2"]);
        let strategy = |class: &str, options: &[(&str, &str)]| {
            let class = ("class", class);
            let all = options.iter().chain([&class]);
            let replication = all.map(|&(name, value)| (name.to_owned(), value.to_owned()));
            holding(&replication.collect(), &there)
        };
        const TOPOLOGY: &str = "org.apache.cassandra.locator.NetworkTopologyStrategy";
        const SIMPLE: &str = "org.apache.cassandra.locator.SimpleStrategy";
        assert_eq!(strategy(TOPOLOGY, &[("dc1", "3")]), set(&["dc1"]));
        // The second has no nodes yet.
        assert_eq!(
            strategy("NetworkTopologyStrategy", &[("dc1", "3"), ("dc3", "3")]),
            set(&["dc1", "dc3"])
        );
        // ScyllaDB names a datacenter that a keyspace left with 0 copies.
        assert_eq!(
            strategy(TOPOLOGY, &[("dc1", "3"), ("dc2", "0")]),
            set(&["dc1"])
        );
        assert_eq!(strategy(SIMPLE, &[("replication_factor", "3")]), there);
    }

    #[test]
    fn a_keyspace_in_several_datacenters_wants_one_to_be_chosen() {
        let judged = |replication: &[(&str, &str)]| {
            let class = [("class", "NetworkTopologyStrategy")];
            let all = replication.iter().chain(&class);
            let replication = all.map(|&(name, value)| (name.to_owned(), value.to_owned()));
            several("chat", &holding(&replication.collect(), &BTreeSet::new()))
        };
        let said = judged(&[("dc1", "3"), ("dc2", "3")]).unwrap();
        assert!(said.contains("2 datacenters (dc1, dc2)"), "{said}");
        assert_eq!(judged(&[("dc1", "3"), ("dc2", "0")]), None);
        assert_eq!(judged(&[("dc1", "3")]), None);
        assert_eq!(judged(&[]), None);
    }

    #[test]
    fn versions_compare_by_their_first_two_numbers() {
        assert_eq!(numbers("5.0.6"), Some((5, 0)));
        assert_eq!(numbers("2025.1.2-0.20250401.abc"), Some((2025, 1)));
        assert_eq!(numbers("6.2~rc1"), Some((6, 2)));
        assert_eq!(numbers("unknown"), None);
        assert!(numbers("3.11.19") < Some(CASSANDRA_MIN));
    }
}
