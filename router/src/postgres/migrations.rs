//! The schema, as numbered files that are applied once each.
//!
//! Each in a transaction of its own with the row that records it, all under a lock, so that two that
//! migrate at once do the work of one. A file that was applied anywhere is never changed: a change is
//! another file.

use tokio_postgres::Client;

use super::{Options, connect, error};
use crate::store::StoreError;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Migration {
    /// From 1, without holes.
    version: i32,
    /// The file's name.
    pub(super) name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        [$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("migrations/", $name, ".sql")),
        }),*]
    };
}

/// All, in order.
pub(super) const MIGRATIONS: [Migration; 3] = migrations![
    1 "0001_conversations",
    2 "0002_devices",
    3 "0003_openers",
];

/// Taken while migrating; the number is "rookery" in ASCII.
const LOCK: i64 = 0x0072_6f6f_6b65_7279;

const RECORDS: &str = "\
    CREATE TABLE IF NOT EXISTS schema_migrations ( \
        version integer PRIMARY KEY, \
        name text NOT NULL, \
        applied_at timestamptz NOT NULL DEFAULT now() \
    )";

/// Applies what is missing, and names what it applied. Waits for another that migrates, up to a
/// minute; else it takes the time that the changes take.
pub async fn migrate(options: &Options) -> Result<Vec<String>, StoreError> {
    let mut client = connect(options).await?;
    let doing = "migrate PostgreSQL";
    let failed = |error: tokio_postgres::Error| error::of_call(doing, &error);
    client
        .batch_execute("SET lock_timeout = '60s'")
        .await
        .map_err(failed)?;
    // Held until the connection ends, which is when this returns.
    client
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await
        .map_err(failed)?;
    client.batch_execute(RECORDS).await.map_err(failed)?;
    let missing = missing(&client).await?;
    for migration in &missing {
        let step = client.transaction().await.map_err(failed)?;
        step.batch_execute(migration.sql).await.map_err(failed)?;
        step.execute(
            "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)",
            &[&migration.version, &migration.name],
        )
        .await
        .map_err(failed)?;
        step.commit().await.map_err(failed)?;
    }
    Ok(names(&missing))
}

/// What [`migrate`] would apply. Changes nothing.
pub async fn pending(options: &Options) -> Result<Vec<String>, StoreError> {
    missing(&connect(options).await?)
        .await
        .map(|missing| names(&missing))
}

fn names(migrations: &[Migration]) -> Vec<String> {
    migrations
        .iter()
        .map(|migration| migration.name.to_owned())
        .collect()
}

/// What the database lacks. A database that is ahead of this program, or that another program made, is
/// an error.
pub(super) async fn missing(client: &Client) -> Result<Vec<Migration>, StoreError> {
    let doing = "read the schema's version";
    let failed = |error: tokio_postgres::Error| error::of_call(doing, &error);
    let exists: bool = client
        .query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if !exists {
        return Ok(MIGRATIONS.to_vec());
    }
    let rows = client
        .query(
            "SELECT version, name FROM schema_migrations ORDER BY version",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in &rows {
        let version: i32 = row.try_get(0).map_err(failed)?;
        let name: String = row.try_get(1).map_err(failed)?;
        if !MIGRATIONS
            .iter()
            .any(|known| known.version == version && known.name == name)
        {
            return Err(StoreError::Failed {
                doing,
                reason: format!(
                    "the database has step {version} ({name}), which this program does not know: \
                     a newer program migrated it, or it is another program's"
                ),
            });
        }
        applied.push(version);
    }
    Ok(MIGRATIONS
        .into_iter()
        .filter(|migration| !applied.contains(&migration.version))
        .collect())
}

/// A connection of its own, outside the pool.
async fn connect(options: &Options) -> Result<Client, StoreError> {
    let config = options.plain_config()?;
    // The driver bounds the connecting, not the greeting that follows.
    let connecting = connect::connect(&config, options.tls.as_ref());
    match tokio::time::timeout(options.timeout, connecting).await {
        Ok(connected) => connected.map_err(|error| error::away(error::sentence(&error))),
        Err(_) => {
            let ms = options.timeout.as_millis();
            Err(error::away(format!("no answer within {ms} ms")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_holes_as_their_files_are() {
        for (at, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i32::try_from(at).unwrap() + 1);
            let number = format!("{:04}_", migration.version);
            assert!(migration.name.starts_with(&number), "{}", migration.name);
            assert!(!migration.sql.is_empty());
        }
    }
}
