//! What is wrong with a CQL cluster, for an operator, before anything is started on it.

use std::collections::HashMap;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;

use super::options::Options;
use super::{fault, migrations, session};
use crate::problem::Problem;
use crate::store::StoreError;

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
    let state = session.get_cluster_state();
    let mut there: Vec<&str> = state
        .get_nodes_info()
        .iter()
        .filter_map(|node| node.datacenter.as_deref())
        .collect();
    there.sort_unstable();
    there.dedup();
    (!there.contains(&datacenter)).then(|| {
        let what = format!("no node is in the datacenter `{datacenter}`");
        fatal(
            what,
            format!("The cluster's datacenters: {}.", there.join(", ")),
        )
    })
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
    fn versions_compare_by_their_first_two_numbers() {
        assert_eq!(numbers("5.0.6"), Some((5, 0)));
        assert_eq!(numbers("2025.1.2-0.20250401.abc"), Some((2025, 1)));
        assert_eq!(numbers("6.2~rc1"), Some((6, 2)));
        assert_eq!(numbers("unknown"), None);
        assert!(numbers("3.11.19") < Some(CASSANDRA_MIN));
    }
}
