//! What is wrong with the configured PostgreSQL, as an operator is told it.

use tokio_postgres::Client;
use tokio_postgres::error::DbError;

use super::{Options, SERVICE, connect, error, migrations};
use crate::problem::Problem;
use crate::store::StoreError;
use crate::tls::{self, Fault, Opening, Target};

/// What `SELECT current_setting('server_version_num')` gives at least: 15.0. Older ones lack nothing
/// that is used here, but nothing older is tested.
const VERSION_MIN: i32 = 150_000;

/// Looks at the server and the schema; nothing found is an empty list. Takes some seconds at most, changes
/// nothing.
pub async fn check(options: &Options) -> Vec<Problem> {
    let config = match options.config() {
        Ok(config) => config,
        Err(error) => return vec![fatal(error.to_string(), "Correct [postgres] url.")],
    };
    let connecting = connect::connect(&config, options.tls.as_ref());
    let client = match tokio::time::timeout(options.timeout, connecting).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return vec![connect_problem(options, &config, &error).await],
        Err(_) => {
            let ms = options.timeout.as_millis();
            let what = format!("{} did not answer within {ms} ms", address(&config));
            let advice = "Look whether that server is alive; a connection opened, or its host \
                          drops packets.";
            return vec![fatal(what, advice)];
        }
    };
    let looked = tokio::time::timeout(options.timeout, look(&client, options));
    match looked.await {
        Ok(Ok(problems)) => problems,
        Ok(Err(error)) => vec![fatal(
            error.to_string(),
            "Look at the server's log; the user needs the right to read and write its tables.",
        )],
        Err(_) => vec![fatal(
            format!("{} took too long over its schema", address(&config)),
            "Look at the server's load and locks (pg_stat_activity).",
        )],
    }
}

async fn look(client: &Client, options: &Options) -> Result<Vec<Problem>, StoreError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), \
             current_setting('synchronous_commit'), current_setting('fsync'), \
             current_setting('max_connections')::int",
            &[],
        )
        .await;
    let failed = |error: tokio_postgres::Error| error::of_call("ask the server", &error);
    let row = row.map_err(failed)?;
    let version: i32 = row.try_get(0).map_err(failed)?;
    let standby: bool = row.try_get(1).map_err(failed)?;
    let synchronous_commit: String = row.try_get(2).map_err(failed)?;
    let fsync: String = row.try_get(3).map_err(failed)?;
    let connections_max: i32 = row.try_get(4).map_err(failed)?;

    let mut problems = Vec::new();
    if version < VERSION_MIN {
        let (major, minor) = (version / 10_000, version % 10_000);
        problems.push(fatal(
            format!("the server is PostgreSQL {major}.{minor}"),
            "Use PostgreSQL 15 or newer.",
        ));
    }
    if standby {
        problems.push(fatal(
            "the server is a standby and takes no writes".to_owned(),
            "Point [postgres] url at the primary.",
        ));
    }
    if fsync == "off" || synchronous_commit == "off" {
        problems.push(warning(
            format!("fsync is {fsync}, synchronous_commit is {synchronous_commit}"),
            "A conversation that was opened may be gone after a crash of the server: turn both on.",
        ));
    }
    if usize::try_from(connections_max).is_ok_and(|max| max < options.pool_size) {
        problems.push(warning(
            format!(
                "max_connections is {connections_max}, the pool may open {}",
                options.pool_size
            ),
            "Lower [postgres] pool_size, or raise max_connections; every node has its own pool.",
        ));
    }
    match migrations::missing(client).await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => {
            let names: Vec<_> = missing.iter().map(|step| step.name).collect();
            problems.push(fatal(
                format!("the schema lacks {}", names.join(", ")),
                "Run `rookery migrate`.",
            ));
        }
        Err(StoreError::Failed { reason, .. }) => problems.push(fatal(
            reason,
            "Use the program that migrated it, or a database of its own.",
        )),
        Err(away) => return Err(away),
    }
    Ok(problems)
}

async fn connect_problem(
    options: &Options,
    config: &tokio_postgres::Config,
    error: &tokio_postgres::Error,
) -> Problem {
    if let Some(fault) = tls_fault(options, config, error).await {
        return fault.problem(SERVICE, &address(config));
    }
    let said = error::sentence(error);
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("28P01" | "28000") => fatal(
            format!("{} refuses the credentials: {said}", address(config)),
            "Correct the user and password in [postgres], or pg_hba.conf.",
        ),
        Some("3D000") => fatal(
            format!("the database does not exist: {said}"),
            "Make it (createdb), owned by the user of [postgres] url.",
        ),
        _ => fatal(
            format!("{} cannot be reached: {said}", address(config)),
            "Look at host and port in [postgres] url, and whether the server listens there.",
        ),
    }
}

/// What is wrong with the server's TLS or with ours.
async fn tls_fault(
    options: &Options,
    config: &tokio_postgres::Config,
    error: &tokio_postgres::Error,
) -> Option<Fault> {
    if let Some(said) = error.as_db_error() {
        return refused_by_rule(said, options.tls.is_some());
    }
    let target = Target {
        address: address(config),
        opening: Opening::Postgres,
        by_address: false,
    };
    tls::ask(target, options.tls.clone()).await
}

/// What a rule of pg_hba.conf wants, `hostssl` or `clientcert`. The server says it in words alone.
fn refused_by_rule(said: &DbError, encrypted: bool) -> Option<Fault> {
    let message = said.message();
    match said.code().code() {
        "28000" if !encrypted && message.ends_with("no encryption") => Some(Fault::InsistsOnTls),
        "28000" if message.contains("valid client certificate") => Some(Fault::CertificateDemanded),
        _ => None,
    }
}

/// `host:port` of the first host.
fn address(config: &tokio_postgres::Config) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
        Some(tokio_postgres::config::Host::Unix(path)) => return path.display().to_string(),
        None => "no host".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    format!("{host}:{port}")
}

fn fatal(what: String, advice: &str) -> Problem {
    Problem::fatal(SERVICE, what, advice)
}

fn warning(what: String, advice: &str) -> Problem {
    Problem::warning(SERVICE, what, advice)
}
