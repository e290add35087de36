//! The schema, step by step: files that are applied once each, in order, and recorded.
//!
//! Statements only add, and say `IF NOT EXISTS`, so one that runs again changes nothing. Two who migrate
//! at once both send every statement to the same node, which takes them one after the other: two nodes of
//! Cassandra that create a table at the same time make two of it. (No lock by lightweight transaction:
//! ScyllaDB's tablets came without them.)

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::policies::load_balancing::{
    LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::statement::unprepared::Statement;

use super::options::Options;
use super::{bits, fault, session};
use crate::store::StoreError;

/// A table of a large cluster takes seconds until all nodes have it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// One step.
struct Migration {
    version: i32,
    name: &'static str,
    text: &'static str,
}

/// All of them, in order. Never changed once released: a change is another file.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "0001_store",
        text: include_str!("migrations/0001_store.cql"),
    },
    Migration {
        version: 2,
        name: "0002_identity",
        text: include_str!("migrations/0002_identity.cql"),
    },
];

/// The names of the steps that the keyspace lacks. All where the keyspace is missing.
pub async fn pending(options: &Options) -> Result<Vec<String>, StoreError> {
    options.check()?;
    let session = session::open(options).await.map_err(fault::away)?;
    let schema = Schema::new(&session, options);
    let applied = schema.applied().await?;
    let lacking = MIGRATIONS
        .iter()
        .filter(|step| !applied.contains_key(&step.version));
    Ok(lacking.map(|step| step.name.to_owned()).collect())
}

/// Applies what is pending, the keyspace first where it is missing, and tells what that was. May be run
/// by several at once, and again after it failed half-way.
pub async fn migrate(options: &Options) -> Result<Vec<String>, StoreError> {
    options.check()?;
    let session = session::open(options).await.map_err(fault::away)?;
    let schema = Schema::new(&session, options);
    let mut applied_now = Vec::new();
    schema.prepare_keyspace().await?;
    let applied = schema.applied().await?;
    for step in MIGRATIONS {
        match applied.get(&step.version) {
            Some(checksum) if *checksum == step.checksum() => {}
            Some(_) => {
                let reason = format!(
                    "{} was applied with another text than this program's: another program's schema",
                    step.name
                );
                return Err(fault::failed("migrate", reason));
            }
            None => {
                schema.apply(step).await?;
                applied_now.push(step.name.to_owned());
            }
        }
    }
    Ok(applied_now)
}

impl Migration {
    /// The statements, without comments.
    fn statements(&self) -> Vec<String> {
        let code = |line: &&str| !line.trim_start().starts_with("--");
        let text: Vec<&str> = self.text.lines().filter(code).collect();
        let text = text.join("\n");
        // At the end of a line: a comment in quotes may have one too.
        let statements = text
            .split(";\n")
            .map(|statement| statement.trim_end_matches(';').trim());
        statements
            .filter(|statement| !statement.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Tells a step apart from one that was changed. Of the statements: comments may be mended.
    fn checksum(&self) -> i64 {
        bits(xxhash_rust::xxh3::xxh3_64(
            self.statements().join(";").as_bytes(),
        ))
    }
}

/// A keyspace's schema.
struct Schema<'a> {
    session: &'a Session,
    options: &'a Options,
    /// Where statements that change it go.
    policy: Option<Arc<dyn LoadBalancingPolicy>>,
}

impl<'a> Schema<'a> {
    fn new(session: &'a Session, options: &'a Options) -> Schema<'a> {
        let state = session.get_cluster_state();
        let hosts = state
            .get_nodes_info()
            .iter()
            .filter(|node| node.is_connected());
        let host = hosts.map(|node| node.host_id).min();
        let policy = host
            .map(|host| SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(host), None));
        Schema {
            session,
            options,
            policy,
        }
    }

    /// Which steps were applied, with their checksums; none where there is no keyspace.
    async fn applied(&self) -> Result<BTreeMap<i32, i64>, StoreError> {
        let found = self
            .session
            .query_unpaged(
                "SELECT table_name FROM system_schema.tables \
                 WHERE keyspace_name = ? AND table_name = 'schema_migrations'",
                (&self.options.keyspace,),
            )
            .await
            .map_err(|error| fault::of_execution("look for the schema", &error))?;
        let found = found.into_rows_result().map_err(read_failed)?;
        if found.rows_num() == 0 {
            return Ok(BTreeMap::new());
        }
        let text = format!(
            "SELECT version, checksum FROM {}.schema_migrations",
            self.options.quoted_keyspace()
        );
        let rows = self
            .session
            .query_unpaged(text, ())
            .await
            .map_err(|error| fault::of_execution("read the schema's version", &error))?;
        let rows = rows.into_rows_result().map_err(read_failed)?;
        let rows = rows.rows::<(i32, i64)>().map_err(read_failed)?;
        rows.collect::<Result<_, _>>().map_err(read_failed)
    }

    /// Creates the keyspace and the table of steps. The role may lack the right to create keyspaces, so
    /// one that is there is left alone.
    async fn prepare_keyspace(&self) -> Result<(), StoreError> {
        let keyspace = self.options.quoted_keyspace();
        let found = self
            .session
            .query_unpaged(
                "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
                (&self.options.keyspace,),
            )
            .await
            .map_err(|error| fault::of_execution("look for the keyspace", &error))?;
        let found = found.into_rows_result().map_err(read_failed)?;
        if found.rows_num() == 0 {
            let replication = &self.options.replication;
            let text = format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
                 {{'class': '{}', 'replication_factor': {}}}",
                replication.class, replication.factor
            );
            self.change(text).await?;
        }
        let text = format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.schema_migrations (\
             version int PRIMARY KEY, name text, checksum bigint, applied_at timestamp)"
        );
        self.change(text).await
    }

    async fn apply(&self, step: &Migration) -> Result<(), StoreError> {
        for statement in step.statements() {
            let table = "CREATE TABLE IF NOT EXISTS ";
            let named = format!("{table}{}.", self.options.quoted_keyspace());
            self.change(statement.replacen(table, &named, 1)).await?;
        }
        let text = format!(
            "INSERT INTO {}.schema_migrations (version, name, checksum, applied_at) \
             VALUES (?, ?, ?, toTimestamp(now()))",
            self.options.quoted_keyspace()
        );
        self.session
            .query_unpaged(text, (step.version, step.name, step.checksum()))
            .await
            .map(drop)
            .map_err(|error| fault::of_execution("record a migration", &error))
    }

    /// Runs a statement that changes the schema, and waits until the nodes agree on it.
    async fn change(&self, text: String) -> Result<(), StoreError> {
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(STATEMENT_TIMEOUT));
        statement.set_is_idempotent(true);
        statement.set_load_balancing_policy(self.policy.clone());
        self.session
            .query_unpaged(statement, ())
            .await
            .map(drop)
            .map_err(|error| fault::of_execution("change the schema", &error))
    }
}

fn read_failed(error: impl Display) -> StoreError {
    fault::failed("read the schema", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_from_one_and_their_statements_may_run_twice() {
        for (i, step) in (1_i32..).zip(MIGRATIONS) {
            assert_eq!(step.version, i);
            assert!(step.name.starts_with(&format!("{i:04}_")), "{}", step.name);
            let statements = step.statements();
            assert!(!statements.is_empty());
            for statement in statements {
                assert!(
                    statement.starts_with("CREATE TABLE IF NOT EXISTS "),
                    "{}: {statement}",
                    step.name
                );
            }
        }
    }
}
